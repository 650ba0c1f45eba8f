# Tables in Markdown from a result file of bench/registry: medians over the rounds, ratios to docker-registry, and what was
# aimed at. Columns of the file: case, side, round, metric, value.

BEGIN { FS = "\t" }
/^# load/ { loads = loads (loads == "" ? "" : ", ") $3; next }
/^# / { about[++abouts] = substr($1, 3) ": " $2; next }
NF == 5 {
    value[$1, $2, $4, ++count[$1, $2, $4]] = $5
    if (!($2 in known)) { known[$2] = 1; side[++sides] = $2 }
    if (!($1 in seen)) { seen[$1] = 1; order[++cases] = $1 }
}

END {
    for (n = 1; n <= abouts; n++) print "- " about[n]
    print "- load averages (1, 5, 15 minutes) at the start of each round: " loads
    aims()
    print ""
    header("work", "requests/s and µs of processor for one", "processor", "aim")
    for (n = 1; n <= cases; n++) if ((order[n], "kiln", "per_second") in count) requests(order[n])
    print ""
    header("work", "MiB/s and µs of processor for one", "MiB/s", "aim")
    for (n = 1; n <= cases; n++) if ((order[n], "kiln", "mib_s") in count) bytes(order[n])
    print ""
    header("what", "", "ratio", "aim")
    for (n = 1; n <= cases; n++) for (m = 1; m <= split("ms cpu_ms kib count", metric, " "); m++)
        if ((order[n], "kiln", metric[m]) in count) plain(order[n], metric[m])
}

function aims() {
    least["manifest_by_tag"] = least["manifest_by_digest"] = least["blob_head"] = least["blob_1k"] = 10
    least["tags_page"] = least["tags_page_middle"] = least["catalog_page"] = least["catalog_page_middle"] = 40
    pushes["push_tags_1"] = pushes["push_tags_8"] = pushes["push_among_many_tags_1"] = pushes["push_among_many_tags_8"] = 1
    bytes_aim["upload_64m"] = bytes_aim["upload_64m_4"] = bytes_aim["skopeo_in"] = 1.3
    bytes_aim["get_64m"] = bytes_aim["get_64m_4"] = bytes_aim["get_512m"] = bytes_aim["skopeo_out"] = 1
}

function header(what, unit, ratio, aim,    n, line) {
    line = "| " what
    for (n = 1; n <= sides; n++) line = line " | " side[n] (unit == "" ? "" : ": " unit)
    print line " | " ratio ", Kiln to docker-registry | " aim " |"
    printf "|---"
    for (n = 1; n <= sides; n++) printf "|---"
    print "|---|---|"
}

function requests(case,    n, line, ratio, aim) {
    line = "| " words(case)
    for (n = 1; n <= sides; n++) line = line " | " pair(case, side[n], "per_second", "cpu_us", "µs")
    ratio = over(case, "cpu_us")
    aim = ""
    if (case in least) aim = "1/" least[case] met(ratio != "" && ratio <= 1 / least[case])
    if (case in pushes) { aim = "as many a second: " short(over(case, "per_second")) met(over(case, "per_second") >= 1) }
    if (case == "referrers") aim = "500 µs" met(median(case, "kiln", "cpu_us") < 500)
    if (case == "access_password" || case == "access_token") {
        ratio = median(case, "kiln", "cpu_us") / median("access_anonymous", "kiln", "cpu_us")
        aim = "1.1 of anonymous: " sprintf("%.2f", ratio) met(ratio <= 1.1)
        ratio = over(case, "cpu_us")
    }
    print line " | " fraction(ratio) " | " aim " |"
}

function bytes(case,    n, line, ratio, aim) {
    line = "| " words(case)
    for (n = 1; n <= sides; n++) line = line " | " pair(case, side[n], "mib_s", "cpu_us_mib", "µs")
    ratio = over(case, "mib_s")
    aim = case in bytes_aim ? bytes_aim[case] met(ratio >= bytes_aim[case]) : ""
    print line " | " short(ratio) " | " aim " |"
}

function plain(case, metric,    n, line, aim, mine) {
    line = "| " words(case) ", " (metric == "kib" ? "MiB" : metric == "cpu_ms" ? "ms of processor" : metric)
    for (n = 1; n <= sides; n++) line = line " | " scaled(median(case, side[n], metric), metric)
    mine = median(case, "kiln", metric)
    aim = ""
    if (case ~ /^start_/ && metric == "ms") aim = "under 150" met(mine < 150)
    if (case ~ /^memory_idle/) aim = "under 60" met(mine < 60 * 1024)
    print line " | " short(over(case, metric)) " | " aim " |"
}

function met(so) { return so ? ", reached" : ", **missed**" }
function words(case) { gsub(/_/, " ", case); return case }
function scaled(v, metric) { return v == "" ? "–" : metric == "kib" ? sprintf("%.1f", v / 1024) : grouped(v) }
function short(v) { return v == "" ? "–" : sprintf("%.2f", v) }
function fraction(v) { return v == "" ? "–" : v < 0.5 ? sprintf("1/%.1f", 1 / v) : sprintf("%.2f", v) }
function pair(case, who, first, second, unit,    a, b) {
    a = median(case, who, first); b = median(case, who, second)
    return a == "" ? "–" : grouped(a) (b == "" ? "" : " · " grouped(b) " " unit)
}
function over(case, metric,    a, b) {
    a = median(case, "kiln", metric); b = median(case, "docker-registry", metric)
    return a == "" || b == "" || b == 0 ? "" : a / b
}
function grouped(v,    text, rest) {
    text = sprintf(v < 10 ? "%.1f" : "%.0f", v)
    for (rest = ""; length(text) > 3 && text !~ /\./; text = substr(text, 1, length(text) - 3)) rest = "," substr(text, length(text) - 2) rest
    return text rest
}
function median(case, who, metric,    n, c, i, j, v, swap) {
    c = count[case, who, metric] + 0
    if (c == 0) return ""
    for (i = 1; i <= c; i++) v[i] = value[case, who, metric, i] + 0
    for (i = 1; i <= c; i++) for (j = i + 1; j <= c; j++) if (v[j] < v[i]) { swap = v[i]; v[i] = v[j]; v[j] = swap }
    return c % 2 ? v[(c + 1) / 2] : (v[c / 2] + v[c / 2 + 1]) / 2
}
