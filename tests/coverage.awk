# Coverage of the model, file by file and side by side: tests.lcov fuzz.lcov tests.report fuzz.report.
# Lines are those of tests.lcov and fuzz.lcov, without a file's own tests; regions are llvm-cov's.
# Variables: root, the folder of the sources; list, the file that is to name each line that neither ran.

FNR == 1 { input++ }

input <= 2 && /^SF:/ {
    file = substr($0, 4)
    sub(root, "", file)
    if (!(file in first_test)) {
        files[++count] = file
        first_test[file] = first_line_of_tests(root file)
    }
}

input <= 2 && /^DA:/ {
    split(substr($0, 4), at, ",")
    line = at[1]
    if (line < first_test[file]) {
        if (!((file, line) in known)) { known[file, line]; total[file]++; last[file] = line > last[file] ? line : last[file] }
        if (at[2] > 0 && !((input, file, line) in run)) { run[input, file, line]; covered[input, file]++ }
    }
}

# File, regions, missed regions, cover, …
input > 2 && $2 ~ /^[0-9]+$/ {
    name = $1
    regions[input - 2, name] = $2
    missed[input - 2, name] = $3
}

END {
    printf "%-28s %6s   %-22s %-22s\n", "", "", "lines run by", "regions run by"
    printf "%-28s %6s   %-10s %-11s %-10s %-10s\n", "core/src", "lines", "tests", "fuzzing", "tests", "fuzzing"
    sort_files()
    for (i = 1; i <= count; i++) show(files[i])
    printf "%-28s %6d   %-10s %-11s %-10s %-10s\n", "all", lines, share(all[1], lines), share(all[2], lines), \
        share(regions[1, "TOTAL"] - missed[1, "TOTAL"], regions[1, "TOTAL"]), \
        share(regions[2, "TOTAL"] - missed[2, "TOTAL"], regions[2, "TOTAL"])
    printf "%d lines run by neither\n", left
}

function show(file,    line) {
    printf "%-28s %6d   %-10s %-11s %-10s %-10s\n", file, total[file], \
        share(covered[1, file], total[file]), share(covered[2, file], total[file]), \
        share(regions[1, file] - missed[1, file], regions[1, file]), \
        share(regions[2, file] - missed[2, file], regions[2, file])
    lines += total[file]
    all[1] += covered[1, file]
    all[2] += covered[2, file]
    for (line = 1; line <= last[file]; line++) {
        text = ""
        if (((file, line) in known) && !((1, file, line) in run) && !((2, file, line) in run)) {
            left++
            print "core/src/" file ":" line ": " source[file, line] > list
        }
    }
}

function share(part, whole) {
    return whole > 0 ? sprintf("%.2f %%", 100 * part / whole) : "-"
}

# Remembers a file's lines; where its tests begin, or a number beyond its end.
function first_line_of_tests(path,    text, number, tests, name) {
    name = path
    sub(root, "", name)
    tests = 1e9
    while ((getline text < path) > 0) {
        number++
        source[name, number] = text
        if (text == "#[cfg(test)]" && tests == 1e9) tests = number
    }
    close(path)
    return tests
}

function sort_files(    i, j, held) {
    for (i = 2; i <= count; i++) {
        held = files[i]
        for (j = i - 1; j > 0 && files[j] > held; j--) files[j + 1] = files[j]
        files[j + 1] = held
    }
}
