-- For wrk: each request pushes an image that differs from all others under a tag of its own.
-- wrk … -s push.lua URL -- REPOSITORY PREFIX MANIFEST   (MANIFEST is a file in which @ stands for what differs)

local threads = 0

function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
end

function init(arguments)
    repository, prefix = arguments[1], arguments[2]
    local file = io.open(arguments[3])
    local text = file:read("*a")
    file:close()
    local at = text:find("@", 1, true)
    before, after = text:sub(1, at - 1), text:sub(at + 1)
    headers = { ["Content-Type"] = "application/vnd.oci.image.manifest.v1+json" }
    count = 0
end

function request()
    count = count + 1
    local tag = prefix .. "-" .. number .. "-" .. count
    return wrk.format("PUT", "/v2/" .. repository .. "/manifests/" .. tag, headers, before .. tag .. after)
end
