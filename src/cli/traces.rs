//! Opens traces: a file or a folder, packed or not.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::simulation::load::trace::{Limits, Trace, TraceError};

/// Reads a trace. A folder is its `trace.csv.gz` or `trace.csv`, else all its `chunk-*-trace.csv` (the clients of a ServeGen pool)
/// added up, else the only file in it.
///
/// # Errors
/// There is no such file, or no one trace in the folder; or what [`Trace::read`] refuses.
pub fn read(path: &Path) -> Result<Trace, TraceError> {
    if !path.is_dir() {
        return read_file(path);
    }
    let files = files(path).map_err(|error| unopened(path, &error.to_string()))?;
    let named = |name: &str| {
        files
            .iter()
            .find(|f| f.file_name().is_some_and(|n| n == name))
    };
    if let Some(file) = named("trace.csv.gz").or_else(|| named("trace.csv")) {
        return read_file(file);
    }
    let chunk = |f: &&PathBuf| {
        let name = f.file_name().map(|n| n.to_string_lossy());
        name.is_some_and(|n| n.starts_with("chunk-") && n.contains("-trace.csv"))
    };
    let chunks: Vec<&PathBuf> = files.iter().filter(chunk).collect();
    match (&chunks[..], &files[..]) {
        ([], [file]) => read_file(file),
        ([], _) => {
            let names = files.iter().filter_map(|f| f.file_name()?.to_str());
            let names: Vec<&str> = names.take(20).collect();
            let reason = format!(
                "a folder must have trace.csv.gz, trace.csv, chunk-*-trace.csv or one file only, and has [{}]: name one",
                names.join(", ")
            );
            Err(unopened(path, &reason))
        }
        _ => {
            let traces: Result<Vec<Trace>, _> = chunks.iter().map(|f| read_file(f)).collect();
            Trace::sum(&traces?)
                .ok_or_else(|| unopened(path, "its chunk-*-trace.csv must all be rates"))
        }
    }
}

fn read_file(path: &Path) -> Result<Trace, TraceError> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| unopened(path, &error.to_string());
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let packed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    if packed {
        let unpacked = BufReader::new(MultiGzDecoder::new(file));
        Trace::read(unpacked, &name, Limits::default())
    } else {
        Trace::read(file, &name, Limits::default())
    }
}

/// The files in a folder, by name.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && path.file_name().is_some_and(|n| n != "README.md") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unopened(path: &Path, reason: &str) -> TraceError {
    TraceError::Unopened {
        file: path.display().to_string(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::simulation::load::trace::{EVERYONE, Format};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    /// An own empty folder for a test; gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("traces-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_and_plain_files_are_the_same_trace_whatever_their_name() {
        let folder = Folder::new("packed");
        let text = "arrival_s,agent\n1,a\n2,b\n";
        let plain = read(&folder.file("a.gz", text.as_bytes())).unwrap();
        let twice = [packed("arrival_s,agent\n1,a\n"), packed("2,b\n")].concat();
        assert_eq!(read(&folder.file("b.csv", &packed(text))).unwrap(), plain);
        assert_eq!(read(&folder.file("c.csv", &twice)).unwrap(), plain);
    }

    #[test]
    fn a_damaged_or_cut_gzip_is_an_error_and_not_a_shorter_trace() {
        let folder = Folder::new("damaged");
        let rows: String = (0..5000).map(|i| format!("{i}.25\n")).collect();
        let whole = packed(&format!("arrival_s\n{rows}"));
        let cut = folder.file("cut.csv.gz", &whole[..whole.len() - 9]);
        let error = read(&cut).unwrap_err().to_string();
        assert!(
            error.contains("cut.csv.gz, line ") && error.contains("cannot be read"),
            "{error}"
        );
        let mut damaged = whole.clone();
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        let error = read(&folder.file("bad.csv.gz", &damaged)).unwrap_err();
        assert!(matches!(error, TraceError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn the_clients_of_a_folder_are_added_up() {
        let folder = Folder::new("clients");
        folder.file("chunk-1-trace.csv", b"0,1,1,Gamma,1,1\n600,2,1,Gamma,1,1\n");
        folder.file("chunk-2-trace.csv", b"0,0.5,1,Gamma,1,1\n600,0,0,,0,0\n");
        folder.file("chunk-1-dataset.json", b"{}");
        let trace = read(&folder.0).unwrap();
        assert_eq!(trace.format, Format::ServeGen);
        assert_eq!(trace.agents[EVERYONE].seconds(), 1200.0);
    }

    #[test]
    fn an_absent_file_and_a_folder_without_one_trace_are_refused_by_name() {
        let folder = Folder::new("none");
        let error = read(&folder.0.join("x.csv")).unwrap_err().to_string();
        assert!(error.contains("x.csv: cannot be opened"), "{error}");
        folder.file("a.csv", b"");
        folder.file("b.csv", b"");
        let error = read(&folder.0).unwrap_err().to_string();
        assert!(error.contains("[a.csv, b.csv]: name one"), "{error}");
    }
}
