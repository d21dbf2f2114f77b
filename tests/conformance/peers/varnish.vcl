vcl 4.1;

# The built-in VCL decides everything.
backend origin {
    .host = "127.0.0.1";
    .port = "@ORIGIN_PORT@";
}
