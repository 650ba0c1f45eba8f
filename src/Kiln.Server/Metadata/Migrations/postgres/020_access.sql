-- As sqlite/020_access.sql.
-- Machine tokens: what kiln token issue gave out. The secret itself is kept nowhere, only its hash.
CREATE TABLE access_tokens (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    hash       TEXT COLLATE "C" NOT NULL UNIQUE,         -- SHA-256 of the secret, in hex: it has 256 random bits, so no salt is needed
    grants     TEXT COLLATE "C" NOT NULL,                -- JSON: repositories and actions
    created    BIGINT NOT NULL,              -- Unix milliseconds
    created_by TEXT COLLATE "C" NOT NULL,
    expires    BIGINT,                       -- null: never
    last_used  BIGINT
);

-- Groups that the token of an OpenID Connect issuer last put its user into: a build that runs later acts for that user.
CREATE TABLE access_principals (
    name     TEXT COLLATE "C" PRIMARY KEY,
    document TEXT COLLATE "C" NOT NULL,                  -- JSON
    updated  BIGINT NOT NULL
);
