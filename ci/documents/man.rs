//! The manual pages, in the macros of man(7), which every system shows.

use opentracker::{cli, config};

/// When the words of the pages that no table holds were last gone over.
const DATE: &str = "2026-11-27";

/// The longest line of text, in bytes, before what is escaped in it.
const MAX_LINE: usize = 70;

const SIGNALS: &[(&str, &str)] = &[
    ("SIGTERM, SIGINT", "End it: requests in flight are finished, and nothing new is begun."),
    ("SIGHUP", "Reads again the files of which opentracker.conf(5) says so, such as access lists."),
];
const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "It was told to end; what was asked of it instead of running is done."),
    ("1", "It could not start, a key could not be made, or nobody answered \"--health\". It says why."),
    ("2", "The command line or the configuration makes no sense. It says where."),
    ("130, 143", "SIGINT or SIGTERM came while it still read its configuration."),
];
const ENVIRONMENT: &[(&str, &str)] = &[
    ("RUST_LOG", "How much is logged, where there is no --log."),
    ("NOTIFY_SOCKET", "Where a service manager hears that it is ready (systemd's Type=notify)."),
    (
        "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES",
        "Sockets that a service manager hands over. Without the feature handover they are closed.",
    ),
    ("FDSTORE", "How many descriptors a service manager keeps from one process to the next (systemd 254 and later)."),
    ("SYSTEMD_EXEC_PID", "Shows an older systemd, which may keep some and does not say so."),
    ("JOURNAL_STREAM", "Lines of the log have a priority and no time where it names standard error."),
];

/// A page as it is written.
struct Page(String);

impl Page {
    fn new(title: &str, section: u8, summary: &str) -> Self {
        let version = cli::command().get_version().unwrap_or_default().to_owned();
        let mut page = Self(String::new());
        page.raw(&format!(".TH {} {section} {DATE} \"opentracker {version}\"", title.to_uppercase()));
        page.raw(".SH NAME");
        page.raw(&format!("{} \\- {}", escape(title), escape(summary)));
        page
    }

    /// Adds a line that is in the macros already.
    fn raw(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.raw(&format!(".SH {}", text.to_uppercase()));
    }

    fn subheading(&mut self, text: &str) {
        self.raw(&format!(".SS {}", escape(text)));
    }

    /// Adds text, broken between words.
    fn text(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > MAX_LINE {
                self.raw(&escape(&line));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.raw(&escape(&line));
    }

    /// Begins an item with this tag, which is in the macros already.
    fn item(&mut self, tag: &str) {
        self.raw(&format!(".TP\n{tag}"));
    }

    /// Adds items, each with a bold tag.
    fn items(&mut self, heading: &str, items: &[(&str, &str)]) {
        self.heading(heading);
        for (tag, text) in items {
            self.item(&format!("\\fB{}\\fR", escape(tag)));
            self.text(text);
        }
    }
}

/// Returns a line of text, so that none of it is a macro.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

/// Returns opentracker(8).
pub(crate) fn program() -> String {
    let mut command = cli::command();
    command.build();
    let mut page = Page::new("opentracker", 8, "a BitTorrent tracker");
    page.heading("Synopsis");
    page.raw(".B opentracker\n[\\fIOPTIONS\\fR]");
    page.heading("Description");
    page.text(
        "It collects the addresses of everyone who announces a torrent, and hands each of them a selection of the \
         others, over HTTP and UDP. It runs in the foreground and logs to standard error. Every option is known to every \
         build; what one needs beside it, its line says, and \"opentracker --version\" what the build has.",
    );
    let order = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for paragraph in order.split("\n\n") {
        page.raw(".PP");
        page.text(paragraph);
    }
    page.heading("Options");
    let mut heading = None;
    for argument in command.get_arguments() {
        if argument.get_help_heading() != heading {
            heading = argument.get_help_heading();
            page.subheading(heading.unwrap_or_default());
        }
        let names = [
            argument.get_short().map(|short| format!("-{short}")),
            argument.get_long().map(|long| format!("--{long}")),
        ];
        let names: Vec<_> = names.into_iter().flatten().map(|name| format!("\\fB{}\\fR", escape(&name))).collect();
        let mut tag = names.join(", ");
        let values = argument.get_value_names().unwrap_or_default();
        let number = argument.get_num_args().unwrap_or_default();
        let more = if number.max_values() > values.len() { "..." } else { "" };
        for value in values {
            let value = format!("\\fI{}\\fR", escape(value));
            tag.push_str(&if number.min_values() == 0 { format!(" [{value}]") } else { format!(" {value}") });
        }
        tag.push_str(more);
        page.item(&tag);
        page.text(&argument.get_help().map(ToString::to_string).unwrap_or_default());
    }
    page.items("Signals", SIGNALS);
    page.items("Exit status", EXIT_CODES);
    page.items("Environment", ENVIRONMENT);
    page.heading("See also");
    page.raw(".BR opentracker.conf (5)");
    page.0
}

/// Returns opentracker.conf(5).
pub(crate) fn configuration() -> String {
    let mut page = Page::new("opentracker.conf", 5, "the configuration of opentracker");
    page.heading("Description");
    for (number, paragraph) in config::introduction().iter().enumerate() {
        if number > 0 {
            page.raw(".PP");
        }
        page.text(&paragraph.replace('`', "\""));
    }
    for section in config::sections() {
        page.heading(section.name);
        if !section.note.is_empty() {
            page.text(section.note);
        }
        for key in section.keys {
            page.item(&format!("\\fB{}\\fR", escape(key.name)));
            for (number, paragraph) in key.paragraphs.iter().enumerate() {
                if number > 0 {
                    page.raw(".IP");
                }
                page.text(paragraph);
            }
            page.raw(".IP");
            page.text(&format!("Example: {} = {}", key.name, key.example));
        }
    }
    page.heading("See also");
    page.raw(".BR opentracker (8)");
    page.0
}
