//! Which instance, and as whom: flags, then the environment, then a profile, then a development instance of this
//! directory.
//!
//! A token goes only where it was meant to go: the token of the default profile, or of the development instance, is
//! used with that one's own address and never with an address from elsewhere.

use std::io::Read as _;
use std::path::PathBuf;

use cloakroom_signing::Secret;
use reqwest::Url;

use super::development::{DevIdentity, DevInstance};
use super::error::{ClientError, Result};
use super::profile::{Profile, Profiles};

/// Connection flags, the same for every client command.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Address of the instance [env: CLOAKROOM_URL]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// File with the access token [env: CLOAKROOM_TOKEN_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Access token, `-` to read it from standard input; visible in the process list, so rather use --token-file
    /// [env: CLOAKROOM_TOKEN]
    #[arg(long, value_name = "TOKEN|-")]
    pub token: Option<Secret>,
    /// Profile of ~/.config/cloakroom/profiles.toml; it counts for more than the environment when it is named
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

impl ConnectionArgs {
    /// Whether the token comes from standard input, which then is not free for anything else.
    pub fn reads_stdin(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.expose() == "-")
    }
}

/// What is read from the environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    url: Option<String>,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    config_home: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Environment {
    /// The environment of the process. An empty variable is an unset one.
    pub fn from_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place of the client that reads the environment"
        )]
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            url: text("CLOAKROOM_URL"),
            token: text("CLOAKROOM_TOKEN").map(Secret::from),
            token_file: variable("CLOAKROOM_TOKEN_FILE").map(PathBuf::from),
            config_home: variable("XDG_CONFIG_HOME")
                .map(PathBuf::from)
                .filter(|path| path.is_absolute()),
            home: variable("HOME").map(PathBuf::from),
        }
    }

    fn profiles_path(&self) -> Option<PathBuf> {
        let config = self
            .config_home
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".config")))?;
        Some(config.join("cloakroom").join("profiles.toml"))
    }
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TokenSource {
    Literal(Secret),
    File(PathBuf),
    Stdin,
}

/// What was decided, before any token is read.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    url: Url,
    token: TokenSource,
    notices: Vec<String>,
}

/// An instance and a token for it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Address of the API, without `/api/v1`.
    pub url: Url,
    /// The bearer token.
    pub token: Secret,
    /// What the person should know, a line each.
    pub notices: Vec<String>,
}

impl Connection {
    /// Decides from flags, environment and profiles, and reads the token. `identity` counts for a development instance alone.
    pub fn open(flags: &ConnectionArgs, identity: DevIdentity) -> Result<Self> {
        let environment = Environment::from_process();
        let profiles = match environment.profiles_path() {
            Some(path) => Profiles::read(&path, environment.home.as_deref())?,
            None => Profiles::default(),
        };
        let choice = choose(
            flags,
            &environment,
            &profiles,
            DevInstance::here(identity).as_ref(),
        )?;
        let mut notices = choice.notices;
        if profiles.exposes_tokens() {
            notices.push(format!(
                "{} holds a token and others can read it: chmod 600",
                profiles.path().display()
            ));
        }
        let token = match choice.token {
            TokenSource::Literal(token) => checked(token.expose(), "the token")?,
            TokenSource::File(path) => {
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    ClientError::Usage(format!("cannot read the token file {}: {error}", path.display()))
                })?;
                checked(&text, &path.display().to_string())?
            }
            TokenSource::Stdin => {
                let mut text = String::new();
                std::io::stdin()
                    .take(64 * 1024)
                    .read_to_string(&mut text)
                    .map_err(|error| {
                        ClientError::Usage(format!("cannot read the token from standard input: {error}"))
                    })?;
                checked(&text, "standard input")?
            }
        };
        Ok(Self {
            url: choice.url,
            token,
            notices,
        })
    }

    /// A connection whose parts are known.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        Ok(Self {
            url: parse_url(url)?,
            token: checked(token, "the token")?,
            notices: Vec::new(),
        })
    }
}

/// The precedence of design §8, for the client: flags, a profile that is named, environment, the default profile,
/// the development instance.
fn choose(
    flags: &ConnectionArgs,
    environment: &Environment,
    profiles: &Profiles,
    development: Option<&DevInstance>,
) -> Result<Choice> {
    let mut notices = Vec::new();
    let named = flags
        .profile
        .as_deref()
        .map(|name| profiles.named(name))
        .transpose()?;
    let fallback = if named.is_some() {
        None
    } else {
        profiles.fallback()
    };

    let own_url = flags
        .url
        .as_ref()
        .or(named.and_then(|profile| profile.url.as_ref()))
        .or(environment.url.as_ref());
    let fallback_url = match fallback.and_then(|profile| profile.url.as_deref()).map(parse_url) {
        // A profile that is not used may be wrong.
        Some(Err(error)) if own_url.is_none() => return Err(error),
        Some(url) => url.ok(),
        None => None,
    };
    let (url, dev_token) = match (own_url, &fallback_url, development) {
        (Some(url), _, _) => (parse_url(url)?, None),
        (None, Some(url), _) => (url.clone(), None),
        (None, None, Some(instance)) => {
            notices.push(format!(
                "no --url: using the development instance of ./data at {}{}",
                instance.url,
                instance.identity.as_whom()
            ));
            (
                parse_url(&instance.url)?,
                Some(TokenSource::File(instance.token_file.clone())),
            )
        }
        (None, None, None) => {
            return Err(ClientError::Usage(
                "no instance: give --url, set CLOAKROOM_URL, or write a profile (see --help)".to_owned(),
            ));
        }
    };

    let flag_token = match &flags.token {
        Some(_) if flags.reads_stdin() => Some(TokenSource::Stdin),
        Some(token) => {
            notices.push(
                "--token shows the token in the process list: use --token-file, --token - or CLOAKROOM_TOKEN"
                    .to_owned(),
            );
            Some(TokenSource::Literal(token.clone()))
        }
        None => flags.token_file.clone().map(TokenSource::File),
    };
    let environment_token = environment
        .token
        .clone()
        .map(TokenSource::Literal)
        .or_else(|| environment.token_file.clone().map(TokenSource::File));
    let token = flag_token
        .or_else(|| named.and_then(token_of))
        .or(environment_token)
        .or_else(|| {
            fallback
                .filter(|_| fallback_url.as_ref() == Some(&url))
                .and_then(token_of)
        })
        .or(dev_token);
    let Some(token) = token else {
        return Err(ClientError::Usage(format!(
            "no token for {url}: give --token-file, set CLOAKROOM_TOKEN or CLOAKROOM_TOKEN_FILE, or write a profile"
        )));
    };
    Ok(Choice { url, token, notices })
}

fn token_of(profile: &Profile) -> Option<TokenSource> {
    match (&profile.token, &profile.token_file) {
        (Some(token), _) => Some(TokenSource::Literal(token.clone())),
        (None, file) => file.clone().map(TokenSource::File),
    }
}

/// An address without credentials, query and fragment, and without a `/` at its end.
fn parse_url(text: &str) -> Result<Url> {
    // The text is not repeated: it may hold a password.
    let wrong = |why: &str| {
        ClientError::Usage(format!(
            "the URL of the instance {why}; write http(s)://host[:port]"
        ))
    };
    let mut url = Url::parse(text.trim()).map_err(|error| wrong(&format!("cannot be read ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("is not an http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds credentials"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    let path = url
        .path()
        .trim_end_matches('/')
        .trim_end_matches("/api/v1")
        .to_owned();
    url.set_path(&path);
    Ok(url)
}

fn checked(text: &str, from: &str) -> Result<Secret> {
    let token = text.trim();
    if token.is_empty() {
        return Err(ClientError::Usage(format!(
            "{from} is empty where a token is expected"
        )));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::Usage(format!(
            "{from} does not hold a token: a token is one word of visible ASCII"
        )));
    }
    Ok(Secret::from(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            url: Some("http://env:1".to_owned()),
            token: Some(Secret::from("env-token")),
            ..Environment::default()
        }
    }

    fn profiles() -> Profiles {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("profiles.toml");
        let text = "[default]\nurl = 'http://default:2/'\ntoken = 'default-token'\n\
                    [staging]\nurl = 'https://staging'\ntoken_file = '/run/staging'\n[bare]\nurl = 'http://bare'";
        std::fs::write(&path, text).expect("written");
        Profiles::read(&path, None).expect("good profiles")
    }

    fn literal(token: &str) -> TokenSource {
        TokenSource::Literal(Secret::from(token))
    }

    fn chosen(
        flags: &ConnectionArgs,
        environment: &Environment,
        profiles: &Profiles,
    ) -> (String, TokenSource) {
        let choice = choose(flags, environment, profiles, None).expect("a choice");
        (choice.url.to_string(), choice.token)
    }

    #[test]
    fn flags_then_environment_then_profile() {
        let flags = ConnectionArgs {
            url: Some("http://flag:3".to_owned()),
            token_file: Some("flag-file".into()),
            ..ConnectionArgs::default()
        };
        let none = Environment::default();
        let by_flag = ("http://flag:3/".to_owned(), TokenSource::File("flag-file".into()));
        assert_eq!(chosen(&flags, &environment(), &profiles()), by_flag);
        let nothing = ConnectionArgs::default();
        assert_eq!(
            chosen(&nothing, &environment(), &profiles()),
            ("http://env:1/".to_owned(), literal("env-token"))
        );
        assert_eq!(
            chosen(&nothing, &none, &profiles()),
            ("http://default:2/".to_owned(), literal("default-token"))
        );
    }

    #[test]
    fn a_named_profile_is_stronger_than_the_environment_and_weaker_than_flags() {
        let mut flags = ConnectionArgs {
            profile: Some("staging".to_owned()),
            ..ConnectionArgs::default()
        };
        let staging = (
            "https://staging/".to_owned(),
            TokenSource::File("/run/staging".into()),
        );
        assert_eq!(chosen(&flags, &environment(), &profiles()), staging);
        flags.url = Some("http://flag:3".to_owned());
        assert_eq!(chosen(&flags, &environment(), &profiles()).0, "http://flag:3/");
        flags = ConnectionArgs {
            profile: Some("bare".to_owned()),
            ..ConnectionArgs::default()
        };
        assert_eq!(
            chosen(&flags, &environment(), &profiles()),
            ("http://bare/".to_owned(), literal("env-token"))
        );
        flags.profile = Some("absent".to_owned());
        assert!(matches!(
            choose(&flags, &environment(), &profiles(), None),
            Err(ClientError::Usage(_))
        ));
    }

    #[test]
    fn the_default_profile_keeps_its_token_to_its_own_address() {
        let flags = ConnectionArgs {
            url: Some("http://elsewhere".to_owned()),
            ..ConnectionArgs::default()
        };
        let refused = choose(&flags, &Environment::default(), &profiles(), None);
        assert!(
            refused
                .expect_err("no token for it")
                .to_string()
                .starts_with("no token for http://elsewhere/")
        );
        let flags = ConnectionArgs {
            url: Some("http://default:2".to_owned()),
            ..ConnectionArgs::default()
        };
        assert_eq!(
            chosen(&flags, &Environment::default(), &profiles()).1,
            literal("default-token")
        );
    }

    #[test]
    fn the_development_instance_is_the_last_resort_and_says_so() {
        let instance = DevInstance {
            url: "http://127.0.0.1:8000".to_owned(),
            token_file: "data/keys/token".into(),
            identity: DevIdentity::User,
        };
        let dev = Some(&instance);
        let (none, nothing) = (Environment::default(), ConnectionArgs::default());
        let choice = choose(&nothing, &none, &Profiles::default(), dev).expect("the development instance");
        assert_eq!(
            (choice.url.as_str(), choice.token),
            (
                "http://127.0.0.1:8000/",
                TokenSource::File("data/keys/token".into())
            )
        );
        assert!(choice.notices[0].contains("development instance"));
        assert_eq!(
            choose(&nothing, &environment(), &Profiles::default(), dev)
                .expect("env")
                .url
                .as_str(),
            "http://env:1/"
        );
        let elsewhere = ConnectionArgs {
            url: Some("http://elsewhere".to_owned()),
            ..ConnectionArgs::default()
        };
        assert!(
            choose(&elsewhere, &none, &Profiles::default(), dev).is_err(),
            "its token goes nowhere else"
        );
        assert!(choose(&nothing, &none, &Profiles::default(), None).is_err());
    }

    #[test]
    fn a_token_on_the_command_line_is_warned_of() {
        let flags = ConnectionArgs {
            token: Some(Secret::from("5ec2e7")),
            ..ConnectionArgs::default()
        };
        let choice = choose(&flags, &environment(), &Profiles::default(), None).expect("a choice");
        assert!(choice.notices[0].contains("process list"));
        assert!(!format!("{choice:?} {flags:?}").contains("5ec2e7"));
        let flags = ConnectionArgs {
            token: Some(Secret::from("-")),
            ..ConnectionArgs::default()
        };
        let choice = choose(&flags, &environment(), &Profiles::default(), None).expect("a choice");
        assert_eq!((choice.token, choice.notices), (TokenSource::Stdin, Vec::new()));
    }

    #[test]
    fn addresses() {
        for (text, url) in [
            ("http://h", "http://h/"),
            ("https://h:8443/files/", "https://h:8443/files"),
            ("http://h/api/v1/", "http://h/"),
            (" http://[::1]:8000\n", "http://[::1]:8000/"),
        ] {
            assert_eq!(parse_url(text).expect(text).as_str(), url);
        }
        for text in [
            "h:8000",
            "ftp://h",
            "http://u:5ec2e7@h",
            "http://h?x=5ec2e7",
            "",
            "http://",
        ] {
            let error = parse_url(text).expect_err(text).to_string();
            assert!(!error.contains("5ec2e7"), "{error}");
        }
        for token in ["", " \n", "a b", "ключ", "a\nb"] {
            assert!(checked(token, "it").is_err(), "{token:?}");
        }
        assert_eq!(checked(" abc\n", "it").expect("good").expose(), "abc");
    }
}
