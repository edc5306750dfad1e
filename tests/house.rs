//! The rules of the house that a compiler does not check: what the pure rooms may name, how long a file may grow.

#![allow(clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms that are values in, values out.
const PURE: [&str; 5] = [
    "src/units",
    "src/allocation",
    "src/sharing",
    "src/recording",
    "src/simulation",
];

/// What reaches outside, has a clock, or iterates in an order of its own.
const FORBIDDEN: [&str; 18] = [
    "kube",
    "k8s_openapi",
    "tokio",
    "futures",
    "hyper",
    "axum",
    "tracing",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "fs",
    "net",
    "env",
    "process",
    "thread",
    "rand",
    "RandomState",
];

/// A file with more lines of code than this, tests, comments and blank lines aside, has more than one concern.
const LONGEST: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The part of a source before its inline test module.
fn without_tests(source: &str) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let inline = |i: &usize| {
        let declaration = lines[i + 1..].iter().find(|l| !l.starts_with("#["));
        lines[*i] == "#[cfg(test)]"
            && declaration.is_some_and(|l| l.starts_with("mod ") && l.ends_with('{'))
    };
    let end = (0..lines.len()).find(inline).unwrap_or(lines.len());
    lines[..end].join("\n")
}

/// Files that are compiled for tests only: declared as `#[cfg(test)] mod name;`, and all below them.
fn test_files(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for file in files {
        let own = match file.file_stem().and_then(|s| s.to_str()) {
            Some("mod" | "lib" | "main") => file.with_file_name(""),
            _ => file.with_extension(""),
        };
        let source = read(file);
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        for (i, _) in lines
            .iter()
            .enumerate()
            .filter(|(_, l)| **l == "#[cfg(test)]")
        {
            // Other attributes may stand between.
            let declaration = lines[i + 1..].iter().find(|l| !l.starts_with("#["));
            let name =
                declaration.and_then(|l| l.trim_start_matches("pub(crate) ").strip_prefix("mod "));
            if let Some(name) = name.and_then(|n| n.strip_suffix(';')) {
                let module = own.join(name);
                let below =
                    |f: &&PathBuf| f.starts_with(&module) || **f == module.with_extension("rs");
                found.extend(files.iter().filter(below).cloned());
            }
        }
    }
    found
}

/// Sources of the crate in `folder`, without tests.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let files = rust_files(&root().join(folder));
    let tests = test_files(&files);
    let own = files.into_iter().filter(|f| !tests.contains(f));
    own.map(|f| {
        let source = without_tests(&read(&f));
        (f, source)
    })
    .collect()
}

/// The forbidden words that a source names outside comments and texts.
fn named(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        // Every second piece between quotes is text.
        let code: String = code.split('"').step_by(2).collect::<Vec<_>>().join(" ");
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let mut bad: Vec<&str> = words.filter(|w| FORBIDDEN.contains(w)).collect();
        if code.contains("::now") {
            bad.push("::now");
        }
        found.extend(bad.iter().map(|word| format!("{}: {word}", number + 1)));
    }
    found
}

#[test]
fn the_pure_rooms_name_no_client_no_clock_no_input_or_output_and_no_unordered_map() {
    let mut seen = 0;
    for room in PURE {
        for (file, source) in sources(room) {
            seen += 1;
            let named = named(&source);
            assert!(
                named.is_empty(),
                "{} is pure and names {named:?}",
                file.display()
            );
        }
    }
    assert!(seen > 10, "only {seen} files looked at");
}

#[test]
fn no_source_file_is_longer_than_one_concern() {
    let mut long = Vec::new();
    for folder in ["src", "e2e/src"] {
        for (file, source) in sources(folder) {
            let code = |line: &&str| !line.is_empty() && !line.starts_with("//");
            let lines = source.lines().map(str::trim).filter(code).count();
            if lines > LONGEST {
                long.push(format!("{}: {lines} lines of code", file.display()));
            }
        }
    }
    assert!(
        long.is_empty(),
        "longer than {LONGEST}:\n{}",
        long.join("\n")
    );
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let mut roots = 0;
    for package in ["", "e2e"] {
        let package = root().join(package);
        let manifest = read(&package.join("Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{}: takes the workspace's lints",
            package.display()
        );
        let bins = rust_files(&package.join("src/bin"));
        let roots_here = ["src/lib.rs", "src/main.rs"].map(|f| package.join(f));
        for root in bins.iter().chain(roots_here.iter().filter(|f| f.exists())) {
            roots += 1;
            assert!(
                read(root).contains("#![forbid(unsafe_code)]"),
                "{} does not say #![forbid(unsafe_code)]",
                root.display()
            );
        }
    }
    assert!(roots >= 3, "only {roots} crate roots looked at");
    assert!(read(&root().join("Cargo.toml")).contains("unsafe_code = \"forbid\""));
}

/// The rules can fail.
#[test]
fn a_breach_is_seen_and_a_comment_or_a_test_is_none() {
    assert_eq!(named("use std::collections::HashMap;"), ["1: HashMap"]);
    assert_eq!(
        named("use std::{fs, time::Instant};"),
        ["1: fs", "1: Instant"]
    );
    assert_eq!(named("\nlet t = jiff::Timestamp::now();"), ["2: ::now"]);
    assert!(named("// kube::Client\nlet kubernetes = \"tokio\";").is_empty());
    let source = "fn f() {}\n#[cfg(test)]\n#[allow(dead_code)]\nmod tests {\n use std::fs;\n}";
    assert_eq!(without_tests(source), "fn f() {}");
    let files = rust_files(&root().join("src/allocation"));
    let tests = test_files(&files);
    let named: Vec<_> = tests
        .iter()
        .filter_map(|f| f.file_name()?.to_str())
        .collect();
    assert!(
        named.contains(&"laws.rs") && !named.contains(&"adaptive.rs"),
        "{named:?}"
    );
}
