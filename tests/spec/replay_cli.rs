//! The `replay` command: what it prints, and how it refuses what it cannot read.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};

const CONFIG: &str = concat!(
    r#"{"op":"config","version":1,"name":"tiny","category":"a_regs","stage":"1","#,
    r#""idr":{"IDR0":"0xd44101a","IDR1":"0x2730010","IDR2":"0x0","IDR3":"0x1404","IDR4":"0x0","IDR5":"0x74","#,
    r#""IIDR":"0x0","AIDR":"0x1"},"#,
    r#""ram":[{"base":"0x40000000","size":"0x20000000"}],"sids":[8],"source":"by hand"}"#,
);

fn replay(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replay")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap()
}

/// A transcript of `lines` after a good `config`.
fn transcript(lines: &[&str]) -> Vec<u8> {
    let mut text = CONFIG.to_owned();
    for line in lines {
        text.push('\n');
        text.push_str(line);
    }
    text.push('\n');
    text.into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A good line of each operation, to be spoiled in one place; the device need not answer so.
const WRITE: &str = r#"{"op":"write","pa":"0x40000000","hex":"0011"}"#;
const MMIO_W: &str = r#"{"op":"mmio_w","off":"0x20","size":4,"val":"0x0"}"#;
const MMIO_R: &str = r#"{"op":"mmio_r","off":"0x24","size":4,"val":"0x0","mask":"0xf"}"#;
const MEM: &str = r#"{"op":"mem","pa":1073741824,"hex":"0011","mask":"ffff"}"#;
const DMA: &str = r#"{"op":"dma","sid":8,"ssid":null,"iova":"0x1000","access":"w","len":2,"data":"0011","id":1,"expect":{"fault":true,"event":null},"alt":[{"pa":"0x0"}]}"#;
const OUTCOME: &str = r#"{"op":"outcome","id":1,"expect":{"ats":"ur"}}"#;
const IRQS: &str = r#"{"op":"irqs","expect":["evtq","sync"]}"#;
const EVENTS: &str = r#"{"op":"events","any":true}"#;
const NOTE: &str = r#"{"op":"note","note":"text"}"#;

#[test]
fn what_cannot_be_read_is_named_by_line_and_cause() {
    // What is spoiled, by what, and the cause that has to be named.
    let rows: &[(&str, &str, &str, &str)] = &[
        ("unknown operation", NOTE, r#"{"op":"nope","note":"text"}"#, "unknown variant `nope`"),
        ("no operation", NOTE, r#"{"note":"text"}"#, "missing field `op`"),
        ("two operations", NOTE, r#"{"op":"note","op":"note","note":"text"}"#, "duplicate field `op`"),
        ("second config", NOTE, CONFIG, "a second `config`"),
        ("array", NOTE, r#"["note","text"]"#, "not an object"),
        ("empty line", NOTE, "", "not an object"),
        ("cut short", NOTE, r#"{"op":"note","no"#, "EOF while parsing a string (column 16)"),
        ("two on a line", NOTE, r#"{"op":"note","note":""}{"op":"note","note":""}"#, "trailing characters"),
        ("unknown field", WRITE, &WRITE.replace("\"pa\"", "\"when\":1,\"pa\""), "unknown field `when`"),
        ("field of another operation", IRQS, &IRQS.replace("{", "{\"alt\":[],"), "unknown field `alt`"),
        ("missing field", WRITE, r#"{"op":"write","pa":"0x40000000"}"#, "missing field `hex`"),
        ("field twice", WRITE, &WRITE.replace("\"pa\"", "\"pa\":1,\"pa\""), "duplicate field `pa`"),
        (
            "note that is no text",
            WRITE,
            &WRITE.replace("\"pa\"", "\"note\":1,\"pa\""),
            "invalid type: integer `1`",
        ),
        ("odd digits", WRITE, &WRITE.replace("0011", "001"), "Odd number of digits"),
        ("wrong digit", WRITE, &WRITE.replace("0011", "00g1"), "Invalid character 'g'"),
        ("bytes that are a number", WRITE, &WRITE.replace("\"0011\"", "11"), "invalid type: integer `11`"),
        ("beyond 64 bits", WRITE, &WRITE.replace("0x40000000", "0xffffffffffffffff"), "beyond 64 bits"),
        (
            "STAG of nobody",
            WRITE,
            &WRITE.replace("\"pa\"", "\"stag\":{\"at\":0,\"id\":7},\"pa\""),
            "no transaction 7",
        ),
        ("STAG as array", WRITE, &WRITE.replace("\"pa\"", "\"stag\":[0,7],\"pa\""), "invalid type: sequence"),
        ("size 2", MMIO_W, &MMIO_W.replace("\"size\":4", "\"size\":2"), "4 or 8"),
        (
            "size as text",
            MMIO_W,
            &MMIO_W.replace("\"size\":4", "\"size\":\"4\""),
            "invalid type: string \"4\"",
        ),
        ("number without 0x", MMIO_W, &MMIO_W.replace("0x20", "20"), "invalid value: string \"20\""),
        ("number with a sign", MMIO_W, &MMIO_W.replace("0x20", "0x+2"), "invalid value: string \"0x+2\""),
        ("number without digits", MMIO_W, &MMIO_W.replace("0x20", "0x"), "invalid value: string \"0x\""),
        ("negative number", MMIO_W, &MMIO_W.replace("\"0x20\"", "-1"), "invalid type: integer `-1`"),
        ("fraction", MMIO_W, &MMIO_W.replace("\"0x20\"", "2.5"), "invalid type: floating point `2.5`"),
        ("offset of 33 bits", MMIO_W, &MMIO_W.replace("0x20", "0x100000020"), "0x100000020 is out of range"),
        ("value of 33 bits", MMIO_W, &MMIO_W.replace("0x0", "0x100000000"), "0x100000000 is out of range"),
        ("value of 65 bits", MMIO_W, &MMIO_W.replace("0x0", "0x10000000000000000"), "at most 64 bits"),
        ("mask of 33 bits", MMIO_R, &MMIO_R.replace("0xf", "0x1ffffffff"), "0x1ffffffff is out of range"),
        ("mask that is null", MMIO_R, &MMIO_R.replace("\"0xf\"", "null"), "invalid type: null"),
        (
            "arch of no quirk",
            MMIO_R,
            &MMIO_R.replace("\"off\"", "\"arch\":1,\"off\""),
            "`arch` without `qemu_quirk`",
        ),
        ("mask too short", MEM, &MEM.replace("ffff", "ff"), "`mask` has 1 bytes and `hex` 2"),
        ("StreamID of 33 bits", DMA, &DMA.replace("\"sid\":8", "\"sid\":4294967296"), "4294967296"),
        ("no ssid", DMA, &DMA.replace("\"ssid\":null,", ""), "missing field `ssid`"),
        ("access x", DMA, &DMA.replace("\"w\"", "\"x\""), "unknown variant `x`"),
        ("len 0", DMA, &DMA.replace("\"len\":2", "\"len\":0"), "`len` 0 is out of range"),
        ("len beyond all bounds", DMA, &DMA.replace("\"len\":2", "\"len\":4294967295"), "is out of range"),
        ("data of another length", DMA, &DMA.replace("0011", "001122"), "`data` has 3 bytes and `len` is 2"),
        ("data of a read", DMA, &DMA.replace("\"w\"", "\"r\""), "`data` of a read"),
        ("fault without event", DMA, &DMA.replace(",\"event\":null", ""), "missing field `event`"),
        (
            "two results in one",
            DMA,
            &DMA.replace("\"fault\":true", "\"pa\":1,\"fault\":true"),
            "a result is one of",
        ),
        ("no result", DMA, &DMA.replace("{\"pa\":\"0x0\"}", "{}"), "a result is one of"),
        ("unknown result", DMA, &DMA.replace("\"fault\":true", "\"foul\":true"), "unknown field `foul`"),
        ("unknown ATS answer", OUTCOME, &OUTCOME.replace("ur", "ux"), "\"ur\", \"ca\" or"),
        ("outcome of nobody", OUTCOME, &OUTCOME.replace("\"id\":1", "\"id\":2"), "no transaction 2"),
        ("unknown line", IRQS, &IRQS.replace("sync", "sink"), "unknown variant `sink`"),
        ("neither expect nor any", EVENTS, r#"{"op":"events"}"#, "one of `expect` and"),
        ("both expect and any", EVENTS, r#"{"op":"events","any":true,"expect":[]}"#, "one of `expect` and"),
        (
            "short record",
            EVENTS,
            r#"{"op":"events","expect":[{"type":"F_UUT","hex":"00","mask":"00"}]}"#,
            "Invalid string length",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (what, good, bad, cause) in rows {
        // After a transaction 1, the good line is line 3; the bad one is line 4.
        let first = if *good == DMA { NOTE } else { DMA };
        fs::write(folder.path().join("bad.jsonl"), transcript(&[first, good, bad])).unwrap();
        let output = replay(&["bad.jsonl"], folder.path());
        let error = text(&output.stderr);
        let named = error.starts_with("error: bad.jsonl:4: ") && error.contains(cause);
        if output.status.code() != Some(2) || !named || error.lines().count() != 1 {
            wrong.push(format!("{what}: {:?} {error}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_no_transcript_is_named_by_file_and_cause() {
    let good = transcript(&[NOTE]);
    let packed = gzip(&transcript(&[NOTE; 1000]));
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let not_utf8 = [good.as_slice(), b"{\"op\":\"note\",\"note\":\"\xff\"}\n"].concat();
    let config = |from: &str, to: &str| {
        assert!(CONFIG.contains(from), "{from}");
        CONFIG.replace(from, to).into_bytes()
    };

    // The file, what is in it, and the error: where, and a word of the cause.
    let rows: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("empty.jsonl", Vec::new(), "empty.jsonl:1: ", "expected `config`"),
        ("empty.jsonl.gz", Vec::new(), "empty.jsonl.gz:1: ", ""),
        (
            "no_config.jsonl",
            format!("{NOTE}\n{CONFIG}\n").into_bytes(),
            "no_config.jsonl:1: ",
            "expected `config`",
        ),
        ("not_utf8.jsonl", not_utf8, "not_utf8.jsonl:3: ", "not UTF-8"),
        ("not_gzip.jsonl.gz", good, "not_gzip.jsonl.gz:1: ", "gzip"),
        ("cut.jsonl.gz", packed[..packed.len() - 6].to_vec(), "cut.jsonl.gz:", ""),
        ("flipped.jsonl.gz", flipped, "flipped.jsonl.gz:", ""),
        ("binary.jsonl", packed, "binary.jsonl:1: ", "not UTF-8"),
        ("version.jsonl", config("\"version\":1", "\"version\":2"), "version.jsonl:1: ", "version 2"),
        (
            "stage.jsonl",
            config("\"stage\":\"1\"", "\"stage\":\"3\""),
            "stage.jsonl:1: ",
            "unknown variant `3`",
        ),
        ("idr.jsonl", config("\"IDR4\":\"0x0\",", ""), "idr.jsonl:1: ", "missing field `IDR4`"),
        ("idr33.jsonl", config("0xd44101a", "0x10d44101a"), "idr33.jsonl:1: ", "out of range"),
        ("ram.jsonl", config("0x20000000", "0xffffffffffffffff"), "ram.jsonl:1: ", "beyond 64 bits"),
        ("no_ram.jsonl", config("0x20000000", "0x0"), "no_ram.jsonl:1: ", "empty"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, bytes, place, cause) in rows {
        fs::write(folder.path().join(name), bytes).unwrap();
        let output = replay(&[name], folder.path());
        let error = text(&output.stderr);
        let named = error.strip_prefix("error: ").is_some_and(|error| error.starts_with(place));
        if output.status.code() != Some(2) || !named || !error.contains(cause) || error.lines().count() != 1 {
            wrong.push(format!("{name}: {:?} {error}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("nothing")).unwrap();
    fs::write(folder.path().join("good.jsonl"), transcript(&[NOTE])).unwrap();
    let rows: [(&[&str], &str); 11] = [
        (&[], "<PATH>"),
        (&["absent.jsonl"], "error: absent.jsonl: No such file"),
        (&["nothing"], "error: nothing: no transcripts"),
        (&["good.jsonl", "--drop", "1.5"], "expected 0 to 1"),
        (&["good.jsonl", "--drop", "NaN"], "expected 0 to 1"),
        (&["good.jsonl", "--drop"], "--drop"),
        (&["good.jsonl", "--seed", "-1"], "-1"),
        (&["good.jsonl", "--iotlb", "4"], "SETSxWAYS"),
        (&["good.jsonl", "--iotlb", "3x1"], "power of two"),
        (&["good.jsonl", "--iotlb", "65536x65536"], "expected 1 to 4096"),
        (&["good.jsonl", "--frob"], "--frob"),
    ];
    for (arguments, cause) in rows {
        let output = replay(arguments, folder.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(cause), "{arguments:?}: {}", text(&output.stderr));
    }
}

const PASSES: &[&str] = &[
    r#"{"op":"note","note":"a device after reset, and memory without it"}"#,
    r#"{"op":"mmio_r","off":"0x0","size":4,"val":"0xd44101a","ident":true}"#,
    r#"{"op":"mmio_w","off":"0x28","size":4,"val":"0xd75","note":"CR1"}"#,
    r#"{"op":"mmio_r","off":40,"size":4,"val":"0x5","mask":"0xf"}"#,
    r#"{"op":"write","pa":"0x40000ffe","hex":"01020304"}"#,
    r#"{"op":"mem","pa":"0x40000ffd","hex":"0001020304ff","mask":"ffffffffff00"}"#,
    r#"{"op":"mmio_r","off":"0x24","size":4,"val":"0x1","qemu_quirk":true,"arch":"0x0"}"#,
    r#"{"op":"mmio_r","off":"0x24","size":4,"val":"0x1","qemu_quirk":true}"#,
    r#"{"op":"irqs","expect":[]}"#,
];

#[test]
fn each_transcript_has_a_line_and_all_have_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir_all(folder.join("set/b")).unwrap();
    let good = transcript(PASSES);
    let fails = transcript(&[NOTE, r#"{"op":"mmio_r","off":"0x24","size":4,"val":"0x1"}"#, NOTE]);
    // A line that is wrong, and one behind it that cannot be read: the latter must not be lost.
    let fails_and_breaks = transcript(&[r#"{"op":"mmio_r","off":"0x24","size":4,"val":"0x1"}"#, "{"]);
    let needs_lpae = text(&transcript(&[NOTE])).replace("0xd44101a", "0xd44101e");
    fs::write(folder.join("set/b/good.jsonl.gz"), gzip(&good)).unwrap();
    fs::write(folder.join("set/c.jsonl"), fails).unwrap();
    fs::write(folder.join("set/d.jsonl"), needs_lpae).unwrap();
    fs::write(folder.join("set/README"), "not a transcript").unwrap();
    fs::write(folder.join("a.jsonl"), good).unwrap();
    fs::write(folder.join("z.jsonl"), fails_and_breaks).unwrap();

    let output = replay(&["a.jsonl"], folder);
    assert_eq!(text(&output.stdout), "ok a (1 quirk skipped)\nreplay: 1 passed, 0 failed, 0 skipped\n");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));

    let set = "ok good (1 quirk skipped)\n\
               FAIL c:3 mmio_r, expected 0x1, got 0x0\n\
               skip d: IDR0.TTF (AArch32 tables): not modelled\n";
    let output = replay(&["set"], folder);
    assert_eq!(text(&output.stdout), format!("{set}replay: 1 passed, 1 failed, 1 skipped\n"));
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(1));

    let output = replay(&["z.jsonl", "absent.jsonl", "set", "a.jsonl"], folder);
    assert_eq!(
        text(&output.stdout),
        format!("{set}ok a (1 quirk skipped)\nreplay: 2 passed, 1 failed, 1 skipped\n")
    );
    let errors: Vec<_> = text(&output.stderr).lines().collect();
    assert!(
        matches!(errors[..], [z, absent] if z.starts_with("error: z.jsonl:3: ") && absent.contains("absent.jsonl"))
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn wrong_answers_to_a_device_show_both_answers() {
    let folder = tempfile::tempdir().unwrap();
    // SMMUEN = 0 and GBPA.ABORT = 0 after reset: a transaction goes through as it is.
    let dma = r#"{"op":"dma","sid":8,"ssid":null,"iova":"0x50000000","access":"w","len":2,"data":"0102","expect":{"pa":"0x50000000"}}"#;
    let mem = r#"{"op":"mem","pa":"0x50000000","hex":"0102"}"#;
    let wrong =
        dma.replace(r#"{"pa":"0x50000000"}"#, r#"{"fault":true,"event":"F_UUT"},"alt":[{"abort":true}]"#);
    let abort = r#"{"op":"mmio_w","off":"0x44","size":4,"val":"0x80100000","note":"GBPA.ABORT, Update"}"#;

    fs::write(folder.path().join("t.jsonl"), transcript(&[dma, mem, abort, &wrong, dma])).unwrap();
    let output = replay(&["t.jsonl", "--drop", "0.5", "--seed", "7"], folder.path());
    assert_eq!(
        text(&output.stdout),
        "FAIL t:6 dma, expected {\"pa\":\"0x50000000\"}, got {\"fault\":true,\"event\":null}\n\
         replay: 0 passed, 1 failed, 0 skipped\n"
    );

    fs::write(folder.path().join("u.jsonl"), transcript(&[&wrong])).unwrap();
    let output = replay(&["u.jsonl"], folder.path());
    assert_eq!(
        text(&output.stdout),
        "FAIL u:2 dma, expected {\"fault\":true,\"event\":\"F_UUT\"} or {\"fault\":true,\"event\":null}, \
         got {\"pa\":\"0x50000000\"}\n\
         replay: 0 passed, 1 failed, 0 skipped\n"
    );
}

/// Two STEs at 0x4000_0000; StreamID 1 has 4 KiB pages at 0x1000, 0x2000 and 0x3000, the last not beside the others.
const PAGES: &[&str] = &[
    r#"{"op":"write","pa":"0x40000040","hex":"0b10004000000000"}"#,
    r#"{"op":"write","pa":"0x40001000","hex":"190000c0026200000020004000000000"}"#,
    r#"{"op":"write","pa":"0x40002000","hex":"0330004000000000"}"#,
    r#"{"op":"write","pa":"0x40003000","hex":"0340004000000000"}"#,
    r#"{"op":"write","pa":"0x40004008","hex":"431700500000000043270050000000004387005000000000"}"#,
    r#"{"op":"mmio_w","off":"0x80","size":8,"val":"0x40000000"}"#,
    r#"{"op":"mmio_w","off":"0x88","size":4,"val":1}"#,
    r#"{"op":"mmio_w","off":"0x20","size":4,"val":1}"#,
];

#[test]
fn a_long_access_takes_as_many_translations_as_it_needs() {
    let beside = [
        r#"{"op":"dma","sid":1,"ssid":null,"iova":"0x1ffe","access":"w","len":4,"data":"01020304","expect":{"pa":"0x50001ffe"}}"#,
        r#"{"op":"mem","pa":"0x50001ffd","hex":"000102030400"}"#,
        r#"{"op":"dma","sid":1,"ssid":null,"iova":"0x3ffe","access":"r","len":4,"expect":{"fault":true,"event":"F_TRANSLATION"}}"#,
        r#"{"op":"dma","sid":1,"ssid":null,"iova":"0x2ffe","access":"r","len":4,"expect":{"pa":"0x50002ffe"}}"#,
    ];
    // The format knows one `pa`, at which all of `data` has to be.
    let apart = r#"{"op":"dma","sid":1,"ssid":null,"iova":"0x2ffe","access":"w","len":4,"data":"01020304","expect":{"pa":"0x50002ffe"}}"#;

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jsonl"), transcript(&[PAGES, &beside].concat())).unwrap();
    fs::write(folder.path().join("b.jsonl"), transcript(&[PAGES, &[apart]].concat())).unwrap();
    let output = replay(&["."], folder.path());
    assert_eq!(
        text(&output.stdout),
        "ok a\n\
         FAIL b:10 dma, expected 01020304 at 0x50002ffe, got 01020000\n\
         replay: 1 passed, 1 failed, 0 skipped\n"
    );
}

#[test]
fn a_reader_that_goes_away_changes_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jsonl"), transcript(PASSES)).unwrap();
    let paths = ["a.jsonl"; 2000];
    let mut child = Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(paths)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(error, "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jsonl"), transcript(PASSES)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_replay"))
        .arg("a.jsonl")
        .current_dir(folder.path())
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    assert!(text(&output.stderr).starts_with("error: standard output: "), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(2));
}
