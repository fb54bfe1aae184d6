//! The rules of the house that neither the compiler nor clippy checks. Each rule is one function from
//! the tree to its violations, and has a test that plants one.

mod dependencies;
mod docs;
mod limits;
mod manifests;
mod names;
mod purity;
mod size;
mod source;
mod text;
mod tree;

use std::fmt;
use std::path::Path;

use tree::Tree;

/// A place where a rule is broken, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    what: String,
}

impl Violation {
    fn of_file(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, what: what.into() }
    }

    fn at(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.what),
            line => write!(out, "{}:{line}: {}", self.path, self.what),
        }
    }
}

type Rule = fn(&Tree) -> Vec<Violation>;

const RULES: &[(&str, Rule)] = &[
    ("names", names::check),
    ("leftovers", text::leftovers),
    ("ignored tests", text::ignored_tests),
    ("file size", size::files),
    ("function size", size::functions),
    ("used limits", limits::check),
    ("pure core", purity::check),
    ("inherited lints", manifests::lints),
    ("inherited versions", manifests::versions),
    ("sorted dependencies", manifests::sorted),
    ("links", docs::links),
    ("reachable pages", docs::reachable),
    ("dated records", docs::records),
];

/// Checks everything and prints what is wrong.
#[expect(clippy::print_stdout, reason = "the list of violations is the output")]
pub(crate) fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tree = Tree::read(&root)?;
    let mut broken = Vec::new();
    for (name, rule) in RULES {
        broken.extend(rule(&tree).into_iter().map(|violation| (*name, violation)));
    }
    for violation in dependencies::check(&root)? {
        broken.push(("dependencies", violation));
    }
    broken.sort_by(|a, b| a.1.cmp(&b.1));
    for (rule, violation) in &broken {
        println!("{violation} [{rule}]");
    }
    match broken.len() {
        0 => Ok(()),
        count => Err(format!("tidy: {count} violations in {} files read", tree.len())),
    }
}
