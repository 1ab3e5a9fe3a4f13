"""The detector as a service: all of `streamer` that imports `musc_online`."""
