//! Who decides on modes: written down, so that every process can say.

use cloakroom_core::JsonObject;
use cloakroom_core::id::WorkerId;
use jiff::Timestamp;

use crate::app::App;
use crate::error::Result;

/// Name of the value in the database.
const SETTING: &str = "stores_leader";

/// Who decides on modes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The process that was elected last.
    pub name: Option<String>,
    /// When it was.
    pub elected_at: Option<Timestamp>,
    /// Whether this process is it, and still believes so.
    pub is_leader: bool,
}

impl App {
    /// Writes down that this process was elected.
    pub async fn announce_leader(&self, leader: &WorkerId) -> Result<()> {
        let mut value = JsonObject::new();
        value.insert("name".to_owned(), leader.0.clone().into());
        let at = self.stores.elected_at().unwrap_or_else(|| self.now());
        value.insert("elected_at".to_owned(), at.to_string().into());
        Ok(self.metadata.put_setting(SETTING, &value).await?)
    }

    /// Who decides on modes.
    pub async fn stores_leader(&self) -> Result<Leader> {
        let value = self.metadata.setting(SETTING).await?.unwrap_or_default();
        let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
        Ok(Leader {
            name: text("name").map(str::to_owned),
            elected_at: text("elected_at").and_then(|at| at.parse().ok()),
            is_leader: self.stores.elected_at().is_some(),
        })
    }
}
