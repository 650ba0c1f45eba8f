using Kiln.Cli;

return await CommandLine.RunAsync(args, Shell.OfProcess());
