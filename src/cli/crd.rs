use super::complain;
use std::process::ExitCode;

/// Prints the CustomResourceDefinition, as `crds/` and the chart carry it.
pub(super) fn main() -> ExitCode {
    match crate::api::crd_yaml() {
        Ok(yaml) => {
            print!("{yaml}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!(
                "the CustomResourceDefinition cannot be written: {error}"
            ));
            ExitCode::FAILURE
        }
    }
}
