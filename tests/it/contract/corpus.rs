//! The corpus of the fuzzer as a plain test: none of its files may cause a panic, and what is read, written and read
//! again has to be the same.

#[path = "../../../fuzz/src/targets.rs"]
mod targets;

#[test]
fn every_file_of_the_fuzzers_corpus_is_read_without_a_panic() {
    for (name, run) in targets::TARGETS {
        let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut files = 0;
        for file in std::fs::read_dir(&folder).expect("a corpus") {
            let path = file.expect("a file").path();
            run(&std::fs::read(&path).expect("a file"));
            files += 1;
        }
        assert!(files >= 8, "{folder} has {files} files");
    }
}
