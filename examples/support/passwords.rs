//! Addresses can contain passwords, and GStreamer's messages contain addresses: everything printed goes through `masked`.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Runs a program with its arguments. Messages about wrong arguments, and about a failure, have no passwords.
pub fn run_masked<A: clap::Parser, E: Display>(run: impl FnOnce(A) -> Result<(), E>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            eprint!("{}", masked(&error.to_string()));
            return ExitCode::from(error.exit_code() as u8);
        }
        // --help and --version are answers, not errors.
        Err(answer) => answer.exit(),
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", masked(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line without passwords.
pub fn say(line: impl Display) {
    // The reader may have gone.
    let _ = writeln!(std::io::stdout(), "{}", masked(&line.to_string()));
}

/// The text without the passwords of addresses: `rtsp://user:***@host/?password=***`.
pub fn masked(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.find("://") {
        let (before, address) = rest.split_at(start + 3);
        out += before;
        let word = address.split_whitespace().next().filter(|word| address.starts_with(word)).unwrap_or("");
        // Not every password is escaped correctly: it ends at the last @.
        rest = address;
        if let Some((login, _)) = word.rsplit_once('@') {
            out += login.split_once(':').map(|(user, _)| format!("{user}:")).unwrap_or_default().as_str();
            out += "***";
            rest = &address[login.len()..];
        }
    }
    out += rest;
    for key in ["password=", "passwd=", "pwd=", "pass=", "token="] {
        let mut from = 0;
        while let Some(found) = out[from..].to_ascii_lowercase().find(key) {
            from += found + key.len();
            let value = out[from..].split(|c: char| c == '&' || c == '"' || c.is_whitespace()).next();
            let end = from + value.map_or(0, str::len);
            out.replace_range(from..end, "***");
        }
    }
    out
}
