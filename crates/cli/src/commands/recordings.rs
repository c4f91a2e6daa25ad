//! `flotilla recordings ...`.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use flotilla_recording::cast::{Code, Line, Reader, parse};
use flotilla_types::id::RecordingId;
use flotilla_types::recording::{RecordingPage, RecordingView, SearchResult};
use jiff::Timestamp;

use crate::context::Context;
use crate::duration::{parse_length, parse_point_now, show_ms, show_time};
use crate::error::{CliError, Doing};
use crate::hub_client::{Call, HubClient};
use crate::output::{OutputArgs, state, text};
use crate::terminal::{during, note};

/// Look at recorded shells: find, replay, observe, end them
///
/// You see your own; administrators and auditors see everybody's. Which shells are recorded say the roles.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla recordings list --cluster prod-eu --since 7d
  flotilla recordings play 0199c2f4-0000-7000-8000-000000000000 --speed 4 --idle-limit 2
  flotilla recordings search 'rm -rf' --cluster prod-eu")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show recordings, newest first
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  flotilla recordings list --user dev@example.com
  flotilla recordings list --pod web-0 --since 1h -o json"
    )]
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Replay a recording in this terminal
    #[command(after_help = "Examples:
  flotilla recordings play 0199c2f4-0000-7000-8000-000000000000
  flotilla recordings play 0199c2f4-0000-7000-8000-000000000000 --speed 4 --idle-limit 2")]
    Play {
        /// The recording
        id: RecordingId,
        /// How many times faster than it was
        #[arg(long, default_value_t = 1.0, value_parser = parse_speed)]
        speed: f64,
        /// Longest pause between two outputs, in seconds
        #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
        idle_limit: Option<f64>,
    },
    /// Find words that were shown, in one recording or in all that match
    #[command(after_help = "Examples:
  flotilla recordings search 'drop table' --cluster prod-eu --since 7d
  flotilla recordings search passwd --id 0199c2f4-0000-7000-8000-000000000000")]
    Search {
        /// Words that stand in one line, in any case
        text: String,
        /// Look only into this recording, and show the lines
        #[arg(long)]
        id: Option<RecordingId>,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Write a recording to a file, as asciicast v2
    #[command(after_help = "Examples:
  flotilla recordings export 0199c2f4-0000-7000-8000-000000000000 --out shell.cast
  flotilla recordings export 0199c2f4-0000-7000-8000-000000000000 | asciinema play -")]
    Export {
        /// The recording
        id: RecordingId,
        /// The file; standard output when left out
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Look on while a session goes on, without slowing it
    #[command(after_help = "Examples:
  flotilla recordings observe 0199c2f4-0000-7000-8000-000000000000")]
    Observe {
        /// The recording
        id: RecordingId,
    },
    /// End a session that goes on
    #[command(after_help = "Examples:
  flotilla recordings terminate 0199c2f4-0000-7000-8000-000000000000")]
    Terminate {
        /// The recording
        id: RecordingId,
    },
}

/// Which recordings.
#[derive(Debug, clap::Args)]
struct Filter {
    /// E-mail address of whose session it was
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
    /// Name of the cluster
    #[arg(long)]
    cluster: Option<String>,
    /// Namespace
    #[arg(long, short)]
    namespace: Option<String>,
    /// Name of the pod
    #[arg(long)]
    pod: Option<String>,
    /// Not before: a time (RFC 3339) or how long ago (30m, 1h, 7d)
    #[arg(long, value_name = "TIME", value_parser = parse_point_now)]
    since: Option<Timestamp>,
    /// Before: a time (RFC 3339) or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse_point_now)]
    until: Option<Timestamp>,
    /// Most recordings to show
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "give a number such as 2 or 0.5".to_owned())?;
    if (0.01..=1000.0).contains(&speed) { Ok(speed) } else { Err("give 0.01 to 1000".to_owned()) }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return if (0.0..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("give 0 to 86400".to_owned()) };
    }
    parse_length(text).map(|length| length.as_secs_f64().max(0.0))
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::List { filter, output } => list(context, filter, None, output).await,
        Command::Play { id, speed, idle_limit } => play(context, id, speed, idle_limit).await,
        Command::Search { text, id: None, filter, output } => list(context, filter, Some(text), output).await,
        Command::Search { text, id: Some(id), output, .. } => lines(context, id, text, output).await,
        Command::Export { id, out } => export(context, id, out).await,
        Command::Observe { id } => observe(context, id).await,
        Command::Terminate { id } => terminate(context, id).await,
    }
}

async fn list(context: &Context, filter: Filter, words: Option<String>, output: OutputArgs) -> Result<(), CliError> {
    let client = context.client()?;
    let page = during("Looking through recordings", collect(&client, filter, words)).await?;
    let headings = ["id", "started", "user", "cluster", "namespace", "command", "state", "duration"];
    context.output(output).show_list(&page, &page.recordings, &headings, |recording| {
        vec![
            text(recording.id.to_string()),
            text(show_time(recording.started_at)),
            text(&recording.email),
            text(&recording.cluster),
            text(&recording.namespace),
            text(&recording.command),
            state(recording.state.as_str()),
            text(show_ms(recording.duration_ms)),
        ]
    })?;
    if page.next.is_some() {
        note("there are more recordings: narrow the search, or use --limit and --until");
    }
    Ok(())
}

/// One page; with words, pages until there is enough or no more.
async fn collect(client: &HubClient, filter: Filter, words: Option<String>) -> Result<RecordingPage, CliError> {
    let mut all = RecordingPage::default();
    loop {
        let query = [
            ("user", filter.user.clone()),
            ("cluster", filter.cluster.clone()),
            ("namespace", filter.namespace.clone()),
            ("pod", filter.pod.clone()),
            ("since", filter.since.map(|time| time.to_string())),
            ("until", filter.until.map(|time| time.to_string())),
            ("text", words.clone()),
            ("before", all.next.map(|id| id.to_string())),
            ("limit", Some(filter.limit.to_string())),
        ];
        let given = query.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
        let page: RecordingPage = client.call(&Call::get(&["api", "recordings"]).query(given)).await?;
        // A hub that gives the same page again would be asked for ever.
        let stuck = page.next.is_some() && page.next == all.next;
        all.next = page.next;
        all.recordings.extend(page.recordings);
        all.recordings.truncate(filter.limit as usize);
        if words.is_none() || stuck || all.next.is_none() || all.recordings.len() >= filter.limit as usize {
            return Ok(all);
        }
    }
}

async fn lines(context: &Context, id: RecordingId, words: String, output: OutputArgs) -> Result<(), CliError> {
    let id = id.to_string();
    let call = Call::get(&["api", "recordings", &id, "search"]).query(vec![("text", words)]);
    let found: SearchResult = context.client()?.call(&call).await?;
    context.output(output).show_list(&found, &found.lines, &["at", "line"], |line| {
        vec![text(format!("{:.1} s", line.at)), text(&line.line)]
    })?;
    if found.more {
        note("there are more lines than these");
    }
    Ok(())
}

/// A recording in a file of its own, which goes when it is closed.
async fn downloaded(context: &Context, id: RecordingId) -> Result<File, CliError> {
    let mut file = tempfile::tempfile().doing("make a temporary file")?;
    fetch(context, id, &mut file).await?;
    io::Seek::rewind(&mut file).doing("read the recording")?;
    Ok(file)
}

async fn fetch(context: &Context, id: RecordingId, to: &mut impl Write) -> Result<(), CliError> {
    let id = id.to_string();
    let call = Call::get(&["api", "recordings", &id, "cast"]).deadline(Duration::from_secs(3600));
    context.client()?.stream(&call, |bytes| to.write_all(bytes).doing("write the recording")).await
}

async fn export(context: &Context, id: RecordingId, out: Option<PathBuf>) -> Result<(), CliError> {
    let Some(path) = out else { return fetch(context, id, &mut io::stdout().lock()).await };
    let mut file = File::create(&path).doing(format!("create {}", path.display()))?;
    fetch(context, id, &mut file).await?;
    note(&format!("written to {}", path.display()));
    Ok(())
}

async fn play(context: &Context, id: RecordingId, speed: f64, idle_limit: Option<f64>) -> Result<(), CliError> {
    let file = during("Fetching the recording", downloaded(context, id)).await?;
    let reader = Reader::new(BufReader::new(file)).map_err(|error| CliError::general(error.to_string()))?;
    let mut before = 0.0;
    for line in reader {
        let line = line.map_err(|error| CliError::general(error.to_string()))?;
        let pause = ((line.at - before).max(0.0) / speed).min(idle_limit.unwrap_or(f64::MAX));
        before = line.at;
        tokio::time::sleep(Duration::try_from_secs_f64(pause).unwrap_or_default()).await;
        show(&line)?;
    }
    Ok(())
}

/// Output goes to the terminal as it was: a replay that changed it would not be one.
fn show(line: &Line) -> Result<(), CliError> {
    match line.code {
        Some(Code::Output) => {
            let mut out = io::stdout().lock();
            let written = out.write_all(line.data.as_bytes()).and_then(|()| out.flush());
            written.doing("write to standard output")
        }
        Some(Code::Marker) => {
            note(&format!("[{}]", line.data));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Server-sent events, as far as the hub sends them (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
#[derive(Default)]
struct Events {
    rest: Vec<u8>,
    kind: String,
}

impl Events {
    fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&str, &str) -> Result<(), CliError>) -> Result<(), CliError> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(kind) = line.strip_prefix("event:") {
                kind.trim_start().clone_into(&mut self.kind);
            } else if let Some(data) = line.strip_prefix("data:") {
                take(&self.kind, data.strip_prefix(' ').unwrap_or(data))?;
            }
        }
        Ok(())
    }
}

async fn observe(context: &Context, id: RecordingId) -> Result<(), CliError> {
    let id = id.to_string();
    let call = Call::get(&["api", "recordings", &id, "live"]).deadline(Duration::from_secs(24 * 3600));
    let mut events = Events::default();
    let take = |kind: &str, data: &str| match kind {
        "lines" => parse(data).map_or(Ok(()), |line| show(&line)),
        "dropped" => {
            note(&format!("[{data} pieces are missing: this terminal was too slow]"));
            Ok(())
        }
        "end" => {
            note("[the session has ended]");
            Ok(())
        }
        _ => Ok(()),
    };
    context.client()?.stream(&call, |bytes| events.push(bytes, take)).await
}

async fn terminate(context: &Context, id: RecordingId) -> Result<(), CliError> {
    let (client, id) = (context.client()?, id.to_string());
    let recording: RecordingView = client.call(&Call::get(&["api", "recordings", &id])).await?;
    let Some(stream) = recording.stream else {
        return Err(CliError::general("this session does not go on"));
    };
    let stream = stream.to_string();
    client.call::<serde::de::IgnoredAny>(&Call::delete(&["api", "streams", &stream])).await?;
    note("the session was ended");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let bytes = b"event: header\ndata: {}\n\n:\n\nevent: lines\ndata: [1, \"o\", \"a\"]\ndata: [2, \"o\", \"b\"]\n\nevent: end\ndata: \n\n";
        for piece in [1, 3, 1000] {
            let (mut events, mut seen) = (Events::default(), Vec::new());
            for part in bytes.chunks(piece) {
                events
                    .push(part, |kind, data| {
                        seen.push(format!("{kind} {data}"));
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, ["header {}", "lines [1, \"o\", \"a\"]", "lines [2, \"o\", \"b\"]", "end "]);
        }
    }

    #[test]
    fn speeds_and_pauses() {
        assert_eq!(parse_speed("2.5"), Ok(2.5));
        assert!(parse_speed("0").is_err() && parse_speed("fast").is_err());
        assert_eq!(parse_seconds("2"), Ok(2.0));
        assert_eq!(parse_seconds("1m"), Ok(60.0));
        assert!(parse_seconds("-1").is_err());
    }
}
