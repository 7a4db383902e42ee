//! Tells the compiler what only Cargo and git know: what `opentracker --version` prints.

use std::process::Command;

fn main() {
    println!("cargo::rustc-env=OPENTRACKER_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=OPENTRACKER_COMMIT={}", commit().unwrap_or_else(|| "no commit".into()));
    println!("cargo::rerun-if-env-changed=OPENTRACKER_COMMIT");
    // Whatever HEAD means is noted in its log.
    for file in [".git/HEAD", ".git/logs/HEAD"] {
        if std::path::Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
}

/// The commit as a packager gives it, or as git knows it; none in a source archive.
fn commit() -> Option<String> {
    if let Ok(given) = std::env::var("OPENTRACKER_COMMIT") {
        return Some(given);
    }
    // A source archive may lie inside a repository that is not this one.
    if !std::path::Path::new(".git").exists() {
        return None;
    }
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
