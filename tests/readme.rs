//! What the README and the design name exists: tests, make targets, files.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What stands between single backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Names that are sentences: at least four underscores, and no metric.
fn sentences(text: &str) -> BTreeSet<&str> {
    let name = |word: &&str| {
        word.matches('_').count() >= 4
            && !word.starts_with("agentpool_")
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    quoted(text).filter(name).collect()
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "e2e/src", "e2e/tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    let sources: String = files.iter().map(|path| read(path)).collect();
    let readme = read(&root().join("README.md"));
    let named = sentences(&readme);
    assert!(named.len() > 10, "{named:?}");
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !sources.contains(&format!("fn {name}(")))
        .collect();
    assert!(
        missing.is_empty(),
        "the README names tests that do not exist: {missing:?}"
    );
}

#[test]
fn every_make_target_that_the_readme_names_exists() {
    let makefile = read(&root().join("Makefile"));
    let readme = read(&root().join("README.md"));
    let targets: BTreeSet<&str> = readme
        .split("make ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next())
        .filter(|word| !word.is_empty())
        .collect();
    assert!(
        targets.contains("demo") && targets.contains("test"),
        "{targets:?}"
    );
    for target in targets {
        assert!(
            makefile.contains(&format!("\n{target}:")),
            "make {target} is not in the Makefile"
        );
    }
}

#[test]
fn what_builds_for_minutes_says_first_what_it_builds_and_how_long_that_took() {
    let makefile = read(&root().join("Makefile"));
    for target in ["demo", "check", "test"] {
        let (_, recipe) = makefile.split_once(&format!("\n{target}:")).unwrap();
        let first: Vec<&str> = recipe
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with("\t@echo "))
            .collect();
        let said = first.join("\n");
        let begins = format!("\t@echo \"{target}: builds ");
        assert!(said.starts_with(&begins), "make {target}: {said}");
        assert!(
            said.contains(" took $(") && said.contains("$(MEASURED)"),
            "make {target}: {said}"
        );
    }
}

#[test]
fn the_image_is_built_with_the_rust_that_is_asked_for_and_runs_as_the_charts_user() {
    let value = |file: &str, key: &str| {
        let text = read(&root().join(file));
        let found = text.lines().find_map(|line| line.trim().strip_prefix(key));
        found
            .unwrap_or_else(|| panic!("{file} has no {key}"))
            .trim_matches('"')
            .to_owned()
    };
    let rust = value("Cargo.toml", "rust-version = ");
    let image = value("Dockerfile", "FROM rust:");
    assert_eq!(image.split('-').next(), Some(rust.as_str()));
    let helpers = "charts/agentpool/templates/_helpers.tpl";
    let [user, group] = ["runAsUser: ", "runAsGroup: "].map(|key| value(helpers, key));
    assert_eq!(value("Dockerfile", "USER "), format!("{user}:{group}"));
}

#[test]
fn every_file_that_a_document_links_to_exists() {
    for document in ["README.md", "docs/design.md"] {
        let path = root().join(document);
        let text = read(&path);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") {
                continue;
            }
            let target = path.parent().unwrap().join(link);
            assert!(
                target.exists(),
                "{document} links to {link}, which does not exist"
            );
        }
    }
}

#[test]
fn a_name_that_is_no_test_is_seen_and_a_metric_is_not_taken_for_one() {
    let text = "`a_thing_that_is_not_there` `agentpool_scrape_to_write_seconds` `make test`";
    assert_eq!(
        sentences(text),
        BTreeSet::from(["a_thing_that_is_not_there"])
    );
}
