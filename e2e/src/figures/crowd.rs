//! Many objects at once, as benchmarks need them.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;

/// Requests under way at once.
const AT_ONCE: usize = 16;

/// Creates objects of one kind, several at a time, in no order.
///
/// # Errors
/// An object is not of this kind or is refused; the message names it.
pub async fn create_all<K>(api: &Api<K>, objects: impl IntoIterator<Item = Value>) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let params = PostParams::default();
    stream::iter(objects)
        .map(|object| {
            let params = &params;
            async move {
                let name = object["metadata"]["name"].to_string();
                let object: K = serde_json::from_value(object)?;
                api.create(params, &object)
                    .await
                    .with_context(|| format!("create {name}"))
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await
}
