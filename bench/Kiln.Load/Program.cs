using System.Globalization;
using Kiln.Load;

// What bench/builds measures, one piece of work at a time: Kiln.Load WORK ADDRESS PID NUMBER…
if (args is not [var work, var address, var process, .. var rest])
{
    await Console.Error.WriteLineAsync("Kiln.Load WORK ADDRESS PID NUMBER…; bench/builds calls it");
    return 2;
}

var pid = int.Parse(process, CultureInfo.InvariantCulture);
var numbers = rest.Select(n => int.Parse(n, CultureInfo.InvariantCulture)).ToArray();
using var registry = new Registry(address);
await (
    work switch
    {
        "identical" => SubmitWork.IdenticalAsync(registry, numbers[0]),
        "cached" => SubmitWork.CachedAsync(registry, numbers[0], numbers[1]),
        "submit" => SubmitWork.NewAsync(registry, numbers[0], numbers[1]),
        "queue" => QueueWork.RunAsync(registry, address, numbers[0], numbers[1], pid),
        "finish" => FinishWork.RunAsync(registry, numbers[0]),
        "viewers" => ViewerWork.RunAsync(registry, address, numbers[0], numbers[1], pid),
        _ => throw new ArgumentException($"no such work: {work}"),
    }
);
return 0;
