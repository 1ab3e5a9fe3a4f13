"""Addresses that log in, as cameras have them."""

ADDRESSES = [
    ("rtsp://10.0.0.5:554/line?channel=1", "rtsp://10.0.0.5:554/line?channel=1"),
    ("rtsp://user:pass@cam/1", "rtsp://cam/1"),
    ("rtsp://user:p@ss@cam/1", "rtsp://cam/1"),
    ("rtsp://eye:p@ss/w0rd@cam/line", "rtsp://cam/line"),
    ("rtsp://eye:pass/w0rd@cam/line", "rtsp://cam/line"),
    ("RTSPS://eye:s3cr3t@cam", "RTSPS://cam"),
    ("rtsp://[fe80::1]:554/live@2", "rtsp://[fe80::1]:554/live@2"),
    ("http://cam/a@b", "http://cam/a@b"),
    ("http://cam/video?user=eye&pwd=s3cr3t&fps=5", "http://cam/video?user=***&pwd=***&fps=5"),
    ("http://cam/v.cgi?user2=eye&pwd1=sec_ret&res=1", "http://cam/v.cgi?user2=***&pwd1=***&res=1"),
    ("http://cam/video?pwd=s3/cr3t", "http://cam/video?pwd=***"),
    ("http://cam/video?access_token=s3cr3t", "http://cam/video?access_token=***"),
    ("rtsp://cam/user=admin_password=s3cr3t_channel=1.sdp", "rtsp://cam/user=***_password=***_channel=1.sdp"),
    ("rtsp://cam/user=admin_password=s3_cr3t_channel=1.sdp", "rtsp://cam/user=***_password=***_channel=1.sdp"),
    ("rtsp://cam/user=admin_password=s/cr3t_channel=1.sdp", "rtsp://cam/user=***_password=***_channel=1.sdp"),
    ("rtsp://cam/live_user=a_password=x", "rtsp://cam/live_user=***_password=***"),
]  # fmt: skip
"""Addresses of cameras, and what may be shown of them."""
