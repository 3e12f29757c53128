# Varnish in front of the handler. What is in braces is filled in by `fronts.rs`.
vcl 4.1;

backend handler {
    .host = "{host}";
    .port = "{port}";
}

sub vcl_backend_response {
    set beresp.ttl = 1s;
    set beresp.grace = 10s;
}
