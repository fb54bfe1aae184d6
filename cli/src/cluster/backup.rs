//! `ringrift cluster backup FILE`: the file is there as a whole, checked and on the disk, or not at all.

use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ringrift_wire::backup::{Head, Reader};
use ringrift_wire::client::Client;
use serde::Serialize;

use crate::output::{self, Failure};

/// What `--json` prints.
#[derive(Serialize)]
struct Taken<'a> {
    file: &'a Path,
    bytes: u64,
    #[serde(flatten)]
    head: Head,
}

/// A file in the making. Its name goes with it; what is whole has another name by then.
struct Draft {
    file: File,
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What cannot be removed stays under a name that says what it is.
        let _ = fs::remove_file(&self.path);
    }
}

pub(crate) async fn run(client: &Client, path: &Path, json: bool) -> Result<(), Failure> {
    if path.exists() {
        let text = format!("{} exists already; name a file that does not", path.display());
        return Err(Failure::usage(text));
    }
    let mut draft = draft(path).map_err(|error| failed("write", path, &error))?;
    client.download("/cluster/backup", |piece| draft.file.write_all(piece)).await?;
    draft.file.sync_all().map_err(|error| failed("write", path, &error))?;
    let written = File::open(&draft.path).map_err(|error| failed("read", path, &error))?;
    let checked = Reader::open(BufReader::new(written)).and_then(Reader::verify);
    let (head, bytes) = checked.map_err(|error| Failure::failed(error.to_string()))?;
    // Unlike a rename this refuses when somebody took the name meanwhile.
    fs::hard_link(&draft.path, path).map_err(|error| failed("name", path, &error))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let synced = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed("sync the folder of", path, &error))?;
    drop(draft);
    if json {
        return output::json(&Taken { file: path, bytes, head });
    }
    output::line(&format!(
        "{}: {bytes} bytes, cluster {} at {}.{}, from {}",
        path.display(),
        head.cluster_id,
        head.term,
        head.index,
        head.node_id
    ));
    Ok(())
}

/// Payloads may hold secrets: nobody else reads the file.
fn draft(path: &Path) -> io::Result<Draft> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let path = path.with_file_name(name);
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    Ok(Draft { file, path })
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}
