//! Configuration: built-in values, then a YAML file, then the environment, into one typed value.
//!
//! Later layers win key by key. In the file, `${NAME}` inside a string stands for the environment variable
//! `NAME` (`$${` for a literal `${`). In the environment, `PREFIX__SERVER__HTTP_PORT=8081` sets
//! `server.http_port`, and single variables may be [aliases](Source::alias) of a key. An empty variable counts
//! as unset, and so does a key with nothing behind it (`server:`).
//!
//! Every message is written for somebody who has never seen the program: it names the file or the variable, the
//! full path of the key, and what to write instead. No message repeats a value, because any value may be secret.
//!
//! Must not know: any program's keys. They come from the type that is asked for.

mod environment;
mod error;
mod expand;
mod known;
mod load;
mod path;
mod secret;

pub use environment::process_environment;
pub use error::{Problem, SettingsError};
pub use load::{Source, load};
pub use secret::Secret;
