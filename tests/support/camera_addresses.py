"""Addresses that log in, as cameras have them."""

ADDRESSES = [
    ("rtsp://10.0.0.5:554/line?channel=1", "rtsp://10.0.0.5:554/line?channel=1"),
    ("rtsp://user:pass@cam/1", "rtsp://cam/1"),
    ("rtsp://user:p@ss@cam/1", "rtsp://cam/1"),
    ("rtsp://eye:p@ss/w0rd@cam/line", "rtsp://cam/line"),
    ("rtsp://eye:pass/w0rd@cam/line", "rtsp://cam/line"),
    ("rtsp://eye:pass?w0rd@cam/line", "rtsp://cam/line"),
    ("rtsp://eye:s3@cret#z@cam/line", "rtsp://cam/line"),
    ("rtsp://eye:a:b@cam/line", "rtsp://cam/line"),
    ("rtsp://eye:12/34@cam/line", "rtsp://eye/***"),
    ("rtsp://eye:s3cr3", "rtsp://eye/***"),
    ("RTSPS://eye:s3cr3t@cam", "RTSPS://cam"),
    ("rtsp:/eye:s3cr3t@cam/line", "***@cam/line"),
    ("rtsp:eye:s3cr3t@cam/line", "***@cam/line"),
    ("eye:s3cr3t@cam/line", "***@cam/line"),
    ("rtsp://cam/eye:s3cr3t@1", "rtsp://cam/***@1"),
    ("rtsp://[fe80::1]:554/live@2", "rtsp://[fe80::1]:554/live@2"),
    ("rtsp://eye:s3cr3t@10.0.0.5:554/live@2", "rtsp://10.0.0.5:554/live@2"),
    ("http://cam/a@b", "http://cam/a@b"),
    ("http://cam/video?user=eye&pwd=s3cr3t&fps=5", "http://cam/video?user=***&pwd=***&fps=5"),
    ("http://cam/v.cgi?user2=eye&pwd1=sec_ret&res=1", "http://cam/v.cgi?user2=***&pwd1=***&res=1"),
    ("http://cam/v.cgi?loginuse=eye&loginpas=s3cr3t", "http://cam/v.cgi?loginuse=***&loginpas=***"),
    ("http://cam/video?pwd=s3/cr3t", "http://cam/video?pwd=***"),
    ("http://cam/video?psw=se_a=cr3t&x", "http://cam/video?psw=***"),
    ("http://cam/video?pass%77ord=s3cr3t", "http://cam/video?pass%77ord=***"),
    ("http://cam/video?%70%77%64=s3cr3t%21&fps=5", "http://cam/video?%70%77%64=***&fps=5"),
    ("http://cam/video?access_token=s3cr3t", "http://cam/video?access_token=***"),
    ("http://gate/?to=rtsp%3A%2F%2Feye%3As3cr3t%40cam", "http://gate/?to=***@cam"),
    ("srt://cam:9?passphrase=s3cr3t12345&streamid=a", "srt://cam:9?passphrase=***&streamid=a"),
    ("rtsp://cam/user=admin_password=s3cr3t_channel=1.sdp", "rtsp://cam/user=***_password=***_channel=1.sdp"),
    ("rtsp://cam/user=admin_password=s3_cr3t_channel=1.sdp", "rtsp://cam/user=***_password=***_channel=1.sdp"),
    ("rtsp://cam/user=admin_password=s/cr3t_channel=1.sdp", "rtsp://cam/user=***_password=***_channel=1.sdp"),
    ("rtsp://cam/live_user=a_password=x", "rtsp://cam/live_user=***_password=***"),
    ("rtsp://cam:554/eye:s3cr3t/ch0?a=b:c", "rtsp://cam:554/***/ch0?a=b:c"),
    ("rtsp://cam/eye:s3cr3t", "rtsp://cam/***"),
    ("http://cam/v?_sid=s3cr3t&pin=12&fps=5", "http://cam/v?_sid=***&pin=***&fps=5"),
    ("http://cam/v?inside=1&spin=2&accessible=3", "http://cam/v?inside=1&spin=2&accessible=3"),
    ("http://gate/rtsp:/cam", "http://gate/rtsp:/cam"),
    ("genicam:Vendor-17?exposure_us=2000&UserSetSelector=Default",
     "genicam:Vendor-17?exposure_us=2000&UserSetSelector=Default"),
    ("camera:0", "camera:0"),
    ("parts/eye@line/a.png", "parts/eye@line/a.png"),
]  # fmt: skip
"""Addresses of cameras, and what may be shown of them."""

PLACES = [
    *(
        f"{scheme}{user}:{{}}@{host}/line"
        for scheme in ("rtsp://", "http://", "rtsp:/", "rtsp:", "")
        for user in ("eye", "e@plant", "a.b")
        for host in ("cam", "10.0.0.5:554", "[fe80::1]:554", "cam.plant.example:8554")
    ),
    *(
        f"{address}{key}={{}}{rest}"
        for address in ("http://cam/video?", "rtsp://cam/user=admin_", "srt://cam:9?mode=a&", "rtsp:/cam/1?")
        for key in (
            "pass", "passwd", "password", "password1", "pwd", "psw", "pw", "loginpas", "pas", "passphrase",
            "token", "api_key", "secret", "auth", "sig", "pass%77ord", "%70%77%64", "Password",
            "pin", "sid", "_sid", "jwt", "bearer", "access", "kennwort",
        )
        for rest in ("", "&fps=5", "_channel=1.sdp")
    ),
    "rtsp://eye:x{}",
]  # fmt: skip
"""Where a password may stand in an address."""
