-- What a build asks of a node beyond its platform, by archspec's name; empty where the platform says it all.
ALTER TABLE executions ADD COLUMN microarchitecture TEXT COLLATE "C" NOT NULL DEFAULT '';
