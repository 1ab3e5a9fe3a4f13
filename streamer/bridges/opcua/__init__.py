"""The OPC UA bridge: a server in the terms of OPC 40100-1 (Machine Vision), one vision system a stream."""
