using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Kiln.Node.Launchers;

/// <summary>
/// What a launching node keeps of one build, on a file system that it shares with the machines of its jobs (mode 0700):
/// <code>
/// DATA/jobs/LEASE/
///   record.json     what the node knows: the lease, and the batch system's word for the job
///   handover.json   what the job gets; gone once a job has taken it
///   script          what the batch system is given; holds nothing secret
///   output          what it and kiln print there
/// </code>
/// </summary>
internal sealed class LaunchFolder
{
    public const string HandoverName = "handover.json";
    private const string RecordName = "record.json";
    private const int MaxTail = 2000;
    private const UnixFileMode OwnerFile = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode OwnerOnly = OwnerFile | UnixFileMode.UserExecute;

    private LaunchFolder(string directory, LaunchRecord record) => (Path, Record) = (directory, record);

    public string Path { get; }
    public LaunchRecord Record { get; private set; }
    public string Script => In("script");
    public string Output => In("output");

    /// <summary>Whether no job has taken what is there for it.</summary>
    public bool IsUntouched => File.Exists(In(HandoverName));

    /// <summary>Makes the folder of a build that is about to be submitted.</summary>
    public static LaunchFolder Create(
        string root,
        LaunchRecord record,
        JobHandover handover,
        Func<string, string> script
    )
    {
        var directory = System.IO.Path.Combine(root, record.Lease.Id);
        Directory.CreateDirectory(directory, OwnerOnly);
        var folder = new LaunchFolder(directory, record);
        try
        {
            folder.Write(HandoverName, handover, LaunchJson.Default.JobHandover, OwnerFile);
            folder.WriteBytes("script", System.Text.Encoding.UTF8.GetBytes(script(directory)), OwnerOnly);
            // Last: without it, a folder is the rest of one that was never used.
            folder.Write(RecordName, record, LaunchJson.Default.LaunchRecord, OwnerFile);
            return folder;
        }
        catch
        {
            // There may be secrets in it.
            RemoveRest(directory);
            throw;
        }
    }

    /// <summary>The folders of an earlier process. What was not finished is removed.</summary>
    public static IReadOnlyList<LaunchFolder> Left(string root)
    {
        var left = new List<LaunchFolder>();
        foreach (var directory in Directory.Exists(root) ? Directory.GetDirectories(root) : [])
        {
            if (Read(directory) is { } record)
            {
                left.Add(new LaunchFolder(directory, record));
            }
            else
            {
                RemoveRest(directory);
            }
        }

        return left;
    }

    private static void RemoveRest(string directory)
    {
        try
        {
            Directory.Delete(directory, recursive: true);
        }
        catch (IOException)
        {
            // Still open on another machine (NFS): it is no reason not to start, and a later start removes it.
        }
    }

    /// <summary>Notes which job it became.</summary>
    public void Became(string job)
    {
        Record = Record with { Job = job };
        try
        {
            Write(RecordName, Record, LaunchJson.Default.LaunchRecord, OwnerFile);
        }
        catch (IOException)
        {
            // A full disk: a later process looks for the job by its name.
        }
    }

    /// <summary>The end of what was printed in the job; empty where there is nothing.</summary>
    public string Tail()
    {
        try
        {
            using var file = File.OpenRead(Output);
            var skips = file.Length > MaxTail;
            file.Seek(-Math.Min(file.Length, MaxTail), SeekOrigin.End);
            using var reader = new StreamReader(file);
            var text = reader.ReadToEnd();
            // Half a line does not say what kind it is; one that is all there is still says something.
            var next = skips ? text.IndexOf('\n', StringComparison.Ordinal) + 1 : 0;
            return text[(next < text.Length ? next : 0)..].Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    /// <summary>Removes it; a job that comes to it later finds nothing, and does nothing.</summary>
    public void Remove()
    {
        try
        {
            Directory.Delete(Path, recursive: true);
        }
        catch (DirectoryNotFoundException)
        {
            // It is what was wanted.
        }
        catch (IOException)
        {
            // Somebody on another machine has a file of it open (NFS): without a record the next start removes it.
            File.Delete(In(RecordName));
        }
    }

    private static LaunchRecord? Read(string directory)
    {
        try
        {
            var bytes = File.ReadAllBytes(System.IO.Path.Combine(directory, RecordName));
            return JsonSerializer.Deserialize(bytes, LaunchJson.Default.LaunchRecord);
        }
        catch (Exception e) when (e is FileNotFoundException or JsonException)
        {
            return null;
        }
    }

    private string In(string name) => System.IO.Path.Combine(Path, name);

    private void Write<T>(string name, T content, JsonTypeInfo<T> type, UnixFileMode mode) =>
        WriteBytes(name, JsonSerializer.SerializeToUtf8Bytes(content, type), mode);

    private void WriteBytes(string name, byte[] content, UnixFileMode mode)
    {
        var draft = In(name + ".new");
        var options = new FileStreamOptions
        {
            Mode = FileMode.Create,
            Access = FileAccess.Write,
            UnixCreateMode = mode,
        };
        using (var file = new FileStream(draft, options))
        {
            file.Write(content);
            file.Flush(flushToDisk: true);
        }

        File.Move(draft, In(name), overwrite: true);
    }
}
