#!/bin/bash -eu
# Builds every fuzz target into $OUT with its seeds, dictionary and options: for ClusterFuzzLite, and for OSS-Fuzz.
# $SRC, $OUT, $RUSTFLAGS and the compilers come from the image.
cd "$SRC/smmuv3"
cargo fuzz build -O --features libfuzzer

targets=(command_queue registers ste_cd guest range transcript)
programs=fuzz/target/x86_64-unknown-linux-gnu/release
inputs=$(mktemp -d)
for target in "${targets[@]}"; do
    cp "$programs/$target" "$OUT/"
    cp "fuzz/dict/$target.dict" "$OUT/$target.dict"
    cp "fuzz/options/$target.options" "$OUT/$target.options"
    mkdir -p "$inputs/$target"
    cp "fuzz/seeds/$target"/* "$inputs/$target/"
    # The flags are for programs of a fuzzer, which this one is not.
    (cd fuzz && env -u RUSTFLAGS cargo run --quiet --example corpus \
        unpack "corpora/$target" "$inputs/$target")
    (cd "$inputs/$target" && zip -q -r "$OUT/${target}_seed_corpus.zip" .)
done
