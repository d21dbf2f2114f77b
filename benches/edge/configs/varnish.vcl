# Varnish as an edge: its built-in policy, and paths it does not look up.
vcl 4.1;

backend origin {
    .host = "@HOST@";
    .port = "@PORT@";
}

sub vcl_recv {
    if (req.url ~ "^/pass/") {
        return (pass);
    }
}
