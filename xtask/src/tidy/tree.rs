//! The text files of the repository, in memory, so that a rule's test can plant its own.

use std::collections::BTreeMap;
use std::path::Path;

/// Folders that hold no text of ours.
const SKIPPED: &[&str] = &[".git", "target"];
/// What the rules read. Other files (images, lock files, recordings) are listed, not read.
const READ: &[&str] =
    &["rs", "toml", "md", "yaml", "yml", "tpl", "json", "txt", "sh", "c", "py", ""];
/// A larger file is no text that a person wrote.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// The files by their path from the root, with `/` between the parts.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the tree under `root`.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    /// A tree of the given files.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self { files: files.collect() }
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> Result<(), String> {
        let failed = |error| format!("reading {}: {error}", folder.display());
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                let size = entry.metadata().map_err(failed)?.len();
                let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
                let is_text = READ.contains(&extension) && size <= TEXT_BYTES_MAX;
                let text = match std::fs::read(entry.path()).map_err(failed)? {
                    bytes if is_text => String::from_utf8(bytes).unwrap_or_default(),
                    _ => String::new(),
                };
                self.files.insert(path, text);
            }
        }
        Ok(())
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// All files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files whose path ends so.
    pub(crate) fn ending<'a>(
        &'a self,
        end: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.files().filter(move |(path, _)| path.ends_with(end))
    }

    /// One file's text.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is such a folder.
    pub(crate) fn has_folder(&self, path: &str) -> bool {
        let inside = format!("{}/", path.trim_end_matches('/'));
        self.files
            .range(inside.clone()..)
            .next()
            .is_some_and(|(first, _)| first.starts_with(&inside))
    }
}
