//! The enums of the Seata protocol, with their numbers on the wire (protocol, section 2.5).
//!
//! Not here: which status may follow which; that is `txn`.

use serde::{Deserialize, Serialize};

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$var_doc:meta])* $variant:ident = $code:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[repr(u8)]
        #[allow(missing_docs, non_camel_case_types)] // the protocol's own names
        pub enum $name { $($(#[$var_doc])* $variant = $code,)+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The number on the wire.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The value of a number on the wire.
            pub const fn from_code(code: u8) -> Option<$name> {
                match code {
                    $($code => Some($name::$variant),)+
                    _ => None,
                }
            }

            /// Its name as Seata spells it.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => stringify!($variant),)+
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

wire_enum! {
    /// Whether a request was served.
    ResultCode { Failed = 0, Success = 1, }
}

wire_enum! {
    /// How a branch is committed and rolled back.
    BranchType { AT = 0, TCC = 1, SAGA = 2, XA = 3, SAGA_ANNOTATION = 4, }
}

wire_enum! {
    /// The state of a global transaction as clients see it. `Finished` also says "not known here".
    GlobalStatus {
        UnKnown = 0, Begin = 1, Committing = 2, CommitRetrying = 3, Rollbacking = 4, RollbackRetrying = 5,
        TimeoutRollbacking = 6, TimeoutRollbackRetrying = 7, AsyncCommitting = 8, Committed = 9, CommitFailed = 10,
        Rollbacked = 11, RollbackFailed = 12, TimeoutRollbacked = 13, TimeoutRollbackFailed = 14, Finished = 15,
        CommitRetryTimeout = 16, RollbackRetryTimeout = 17, Deleting = 18, StopCommitOrCommitRetry = 19,
        StopRollbackOrRollbackRetry = 20,
    }
}

wire_enum! {
    /// The state of a branch, as RMs report it and answer with it.
    BranchStatus {
        Unknown = 0, Registered = 1, PhaseOne_Done = 2, PhaseOne_Failed = 3, PhaseOne_Timeout = 4,
        PhaseTwo_Committed = 5, PhaseTwo_CommitFailed_Retryable = 6, PhaseTwo_CommitFailed_Unretryable = 7,
        PhaseTwo_Rollbacked = 8, PhaseTwo_RollbackFailed_Retryable = 9, PhaseTwo_RollbackFailed_Unretryable = 10,
        PhaseTwo_CommitFailed_XAER_NOTA_Retryable = 11, PhaseTwo_RollbackFailed_XAER_NOTA_Retryable = 12,
        PhaseOne_RDONLY = 13, STOP_RETRY = 14, PhaseOne_PrepareFailed = 15,
    }
}

wire_enum! {
    /// Why a request was refused; numbers of clients from 2.0 on.
    ExceptionCode {
        Unknown = 0, BeginFailed = 1, LockKeyConflict = 2, IO = 3, BranchRollbackFailed_Retriable = 4,
        BranchRollbackFailed_Unretriable = 5, BranchRegisterFailed = 6, BranchReportFailed = 7,
        LockableCheckFailed = 8, BranchTransactionNotExist = 9, GlobalTransactionNotExist = 10,
        GlobalTransactionNotActive = 11, GlobalTransactionStatusInvalid = 12, FailedToSendBranchCommitRequest = 13,
        FailedToSendBranchRollbackRequest = 14, FailedToAddBranch = 15, FailedLockGlobalTransaction = 16,
        FailedWriteSession = 17, FailedStore = 18, NotRaftLeader = 19, LockKeyConflictFailFast = 20,
        TransactionTimeout = 21, CommitHeuristic = 22, Broken = 23,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_positions() {
        for (position, status) in GlobalStatus::ALL.iter().enumerate() {
            assert_eq!(usize::from(status.code()), position);
            assert_eq!(GlobalStatus::from_code(status.code()), Some(*status));
        }
        assert_eq!(GlobalStatus::from_code(21), None);
        assert_eq!(BranchStatus::from_code(16), None);
        assert_eq!(ExceptionCode::from_code(24), None);
    }
}
