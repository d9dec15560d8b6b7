-- A membership of a team, or an invitation to one.
CREATE TABLE team_members (
    team VARCHAR NOT NULL, -- Team, an entity.
    member_id VARCHAR NOT NULL, -- W&B's id of the membership or invitation.
    username VARCHAR, -- Login; NULL for who is invited by mail and has no account.
    name VARCHAR, -- Name shown in W&B; for an invitation by mail the address.
    email VARCHAR, -- Mail address, personal data: only where W&B shows it to this key.
    is_admin BOOLEAN, -- Whether it administers the team.
    account_type VARCHAR, -- Kind of account, as W&B names it, for example MEMBER, VIEW_ONLY or SERVICE.
    is_pending BOOLEAN, -- Whether the invitation is not accepted yet.
    deleted_at TIMESTAMP, -- When a sync first found that W&B no longer has it; NULL while it exists.
    synced_at TIMESTAMP NOT NULL, -- When wbsync read this row from W&B.
    PRIMARY KEY (team, member_id)
);
