/// Why a trace cannot be read: which file, which line, what stands there and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// It is not there, or is a folder in which no one trace stands out.
    #[error("{file}: cannot be opened: {reason}")]
    Unopened {
        /// The file or folder.
        file: String,
        /// Why not.
        reason: String,
    },
    /// The bytes do not come: a file that breaks off, a gzip stream that is damaged.
    #[error("{file}, line {line}: cannot be read: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// The line that was to be read, from 1.
        line: u64,
        /// What the reader says.
        reason: String,
    },
    /// No known format begins so.
    #[error(
        "{file}, line 1: {first:?} begins none of the formats that are read: \
         \"arrival_s[,input_tokens,output_tokens][,agent]\" (CSV with these names), \
         \"t_s,agent,rate_rps\" (a table of rates), \"TIMESTAMP,ContextTokens,GeneratedTokens\" (Azure), \
         {{\"timestamp\": ms, \"input_length\": ..., \"output_length\": ...}} (Mooncake), \
         \"seconds,rate,cv,Gamma|Weibull,shape,scale\" (ServeGen)"
    )]
    UnknownFormat {
        /// The file.
        file: String,
        /// How it begins.
        first: String,
    },
    /// A value that cannot be.
    #[error("{file}, line {line}: {field} is {value:?}: {right}")]
    Field {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column or key.
        field: String,
        /// What stands there, shortened.
        value: String,
        /// What would be right.
        right: String,
    },
    /// A line that no trace has.
    #[error(
        "{file}, line {line}: longer than {limit} bytes; a request is one line of a few numbers"
    )]
    LongLine {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// Longest line that is read.
        limit: usize,
    },
    /// More than is held in memory.
    #[error("{file}, line {line}: more than {limit} {what}; cut the trace into shorter ones")]
    TooMany {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// Of what.
        what: &'static str,
        /// How many are read at most.
        limit: usize,
    },
    /// A trace without a request.
    #[error("{file}: no request in it; a trace has at least one line below its header")]
    Empty {
        /// The file.
        file: String,
    },
}
