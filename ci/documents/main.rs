//! Writes the documents that are made from the program's own tables, or compares them with what there is.

use std::process::ExitCode;
use std::{env, fs};

/// Returns each document: its path from the project's root, and its text.
fn documents() -> [(&'static str, String); 1] {
    [("opentracker.conf.sample", opentracker::config::sample())]
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let act_on = match arguments.as_slice() {
        [] => write,
        [argument] if argument == "--check" => check,
        _ => {
            eprintln!("unknown arguments {arguments:?}: see ci/documents/run --help");
            return ExitCode::from(2);
        }
    };
    let mut code = ExitCode::SUCCESS;
    for (path, text) in documents() {
        if let Err(error) = act_on(path, &text) {
            eprintln!("{path}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn write(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| error.to_string())
}

fn check(path: &str, text: &str) -> Result<(), String> {
    match fs::read_to_string(path) {
        Ok(found) if found == text => Ok(()),
        Ok(_) => Err("is not what the program's tables say: run ci/documents/run".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
