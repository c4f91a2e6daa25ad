//! `flotilla users ...`.

use flotilla_types::api::{RolesRequest, UserCreate, UserCreated, UserList, UserView};
use flotilla_types::id::UserId;
use flotilla_types::name::normalize_email;
use flotilla_types::org::MemberList;
use secrecy::ExposeSecret;

use crate::context::Context;
use crate::duration::show_time;
use crate::error::CliError;
use crate::hub_client::{Call, HubClient};
use crate::output::{OutputArgs, list as words, text};
use crate::terminal::{self, during};

/// See and change accounts (administrators)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla users list
  flotilla users add dev@example.com --role developer")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show all accounts
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  flotilla users list
  flotilla users list -o json"
    )]
    List(OutputArgs),

    /// Make an account
    ///
    /// Without --password-stdin the hub makes a password, which is shown once and should be changed.
    #[command(after_help = "Examples:
  flotilla users add dev@example.com --role developer
  flotilla users add ci@example.com --role viewer --password-stdin < password.txt
  flotilla users add old@example.com --password-hash-stdin < bcrypt.txt")]
    Add(Add),

    /// Give an account these roles and no others
    #[command(after_help = "Examples:
  flotilla users roles dev@example.com developer viewer
  flotilla users roles gone@example.com --none")]
    Roles {
        /// The account
        email: String,
        /// Names of roles
        #[arg(required_unless_present = "none")]
        roles: Vec<String>,
        /// Take all roles away
        #[arg(long, conflicts_with = "roles")]
        none: bool,
        #[command(flatten)]
        output: OutputArgs,
    },

    /// Remove an account and end its sessions
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  flotilla users remove gone@example.com"
    )]
    Remove {
        /// The account
        email: String,
    },

    /// Give an account a new password, shown once, and end its sessions
    #[command(after_help = "Examples:
  flotilla users reset-password dev@example.com")]
    ResetPassword {
        /// The account
        email: String,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The account's address
    email: String,

    /// Role to give it; may be given several times
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,

    /// Read the password from standard input, one line
    #[arg(long, conflicts_with = "password_hash_stdin")]
    password_stdin: bool,

    /// Read a hash from elsewhere ($2b$... or $argon2id$...) from standard input, one line
    #[arg(long)]
    password_hash_stdin: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::List(output) => list(context, output).await,
        Command::Add(add) => create(context, add).await,
        Command::Roles { email, roles, output, .. } => set_roles(context, &email, roles, output).await,
        Command::Remove { email } => remove(context, &email).await,
        Command::ResetPassword { email, output } => reset_password(context, &email, output).await,
    }
}

async fn list(context: &Context, output: OutputArgs) -> Result<(), CliError> {
    let list: UserList = context.client()?.call(&Call::get(&["api", "users"])).await?;
    context.output(output).show_list(&list, &list.users, &["email", "roles", "created", "id"], |user| {
        vec![text(&user.email), words(&user.roles), text(show_time(user.created_at)), text(user.id.to_string())]
    })
}

async fn create(context: &Context, add: Add) -> Result<(), CliError> {
    let secret = |wanted: bool, what| wanted.then(|| terminal::secret_line(what)).transpose();
    let exposed = |secret: Option<secrecy::SecretString>| secret.map(|secret| secret.expose_secret().to_owned());
    let body = UserCreate {
        email: address(&add.email)?,
        password: exposed(secret(add.password_stdin, "password")?),
        password_hash: exposed(secret(add.password_hash_stdin, "password hash")?),
        roles: add.role,
    };
    let call = Call::post(&["api", "users"]).json(&body)?;
    let made: UserCreated = during("Making the account", context.client()?.call(&call)).await?;
    context.output(add.output).show_text(&made, |made| with_password("added", made))
}

fn with_password(done: &str, made: &UserCreated) -> String {
    let email = &made.user.email;
    match &made.password {
        None => format!("{email} {done}\n"),
        Some(password) => {
            format!("{email} {done}\npassword (shown once, to be changed at the first login): {password}\n")
        }
    }
}

fn address(email: &str) -> Result<String, CliError> {
    normalize_email(email).map_err(|error| CliError::usage(error.to_string()))
}

/// The account of an address.
///
/// # Errors
/// When there is none, or the caller may not see accounts.
pub(crate) async fn find(client: &HubClient, email: &str) -> Result<UserView, CliError> {
    let email = address(email)?;
    let list: UserList = client.call(&Call::get(&["api", "users"])).await?;
    list.users
        .into_iter()
        .find(|user| user.email == email)
        .ok_or_else(|| CliError::general(format!("there is no account {email}")).hint("flotilla users list shows them"))
}

/// The account of an address among members.
///
/// # Errors
/// It is not among them.
pub(crate) fn among(list: &MemberList, email: &str) -> Result<UserId, CliError> {
    let email = address(email)?;
    let found = list.members.iter().find(|member| member.email == email).map(|member| member.user);
    found.ok_or_else(|| CliError::general(format!("{email} is no member")))
}

/// Gives an account these roles and no others.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn assign(client: &HubClient, email: &str, roles: Vec<String>) -> Result<UserView, CliError> {
    let id = find(client, email).await?.id.to_string();
    let call = Call::put(&["api", "users", &id, "roles"]).json(&RolesRequest { roles })?;
    client.call(&call).await
}

async fn set_roles(context: &Context, email: &str, roles: Vec<String>, output: OutputArgs) -> Result<(), CliError> {
    let user = assign(&context.client()?, email, roles).await?;
    context.output(output).show_text(&user, |user| {
        let roles = if user.roles.is_empty() { "no roles".to_owned() } else { user.roles.join(", ") };
        format!("{} has {roles}\n", user.email)
    })
}

async fn remove(context: &Context, email: &str) -> Result<(), CliError> {
    let client = context.client()?;
    let user = find(&client, email).await?;
    client.call::<()>(&Call::delete(&["api", "users", &user.id.to_string()])).await?;
    terminal::note(&format!("{} removed", user.email));
    Ok(())
}

async fn reset_password(context: &Context, email: &str, output: OutputArgs) -> Result<(), CliError> {
    let client = context.client()?;
    let id = find(&client, email).await?.id.to_string();
    let call = Call::post(&["api", "users", &id, "password"]);
    let made: UserCreated = during("Making a password", client.call(&call)).await?;
    context.output(output).show_text(&made, |made| with_password("has a new password", made))
}
