"""Online zero-shot anomaly detection by mutual scoring (MuSc, ICLR 2024)."""
