-- What a browser sends, and what `load.rs` reads: answers, microseconds, percentiles in microseconds, failures.
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.5"
wrk.headers["X-Request-Id"] = "7f3c1f0e-6f3a-4a8e-9a1e-1b2c3d4e5f60"

-- What is asked for: one `page`, each request another of `others`, or the page by a method.
function init(args)
    if args[1] == "others" then
        local count = 0
        request = function()
            count = count + 1
            return wrk.format(nil, wrk.path .. "&offset=" .. count)
        end
    elseif args[1] ~= "page" then
        wrk.method = args[1]
    end
end

function done(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("measured %d %d %d %d %d %d\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), latency.max, failed))
end
