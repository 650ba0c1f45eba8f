# What wrk or ab says, as: requests, seconds, answers that are not 2xx or broke off.
/ requests in / { requests = $1; took = seconds($4) }
/^  Non-2xx or 3xx responses:/ { wrong += $NF }
/^  Socket errors:/ { gsub(/[^0-9 ]/, ""); for (n = 1; n <= NF; n++) wrong += $n }
/^Complete requests:/ { requests = $3 }
/^Time taken for tests:/ { took = $5 }
/^Non-2xx responses:/ { wrong += $3 }
/^   \(Connect:/ { gsub(/[^0-9 ]/, ""); wrong += $1 + $2 + $4 }
END { print requests + 0, took + 0, wrong + 0 }

function seconds(text) {
    return text ~ /ms,?$/ ? text / 1000 : text ~ /m,?$/ ? text * 60 : text + 0
}
