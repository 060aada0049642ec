using BlockMount.Core.Errors;

namespace BlockMount.Core.Formats;

/// <summary>Collects what a repair does. Of many repairs of one sort the first are listed one by one, so that memory is bounded.</summary>
/// <param name="file">The file that is repaired.</param>
internal sealed class RepairLog(string file)
{
    /// <summary>Blocks that get a copy of their own; where more share their place the table itself is lost.</summary>
    public const int MostCopies = 4096;

    private const int MostListed = 20;

    /// <summary>What is remembered of a table to be changed grows with this.</summary>
    private const int MostChanges = 1 << 22;

    private readonly List<ImageDiagnostic> _listed = [];
    private readonly Dictionary<string, (Severity Severity, int Count)> _counts = new(StringComparer.Ordinal);

    public bool IsEmpty => _listed.Count == 0;

    public IReadOnlyList<ImageDiagnostic> Findings =>
    [
        .. _listed,
        .. _counts.Where(static c => c.Value.Count > MostListed).Select(
            c => new ImageDiagnostic(c.Value.Severity, c.Key, file, null, $"{file}: {c.Value.Count - MostListed} more of the sort {c.Key} are repaired in the same way.")),
    ];

    /// <summary>Adds a finding.</summary>
    /// <param name="severity">An error when bytes of the disk are lost, whether before or now.</param>
    /// <param name="code">Short stable name, snake_case.</param>
    /// <param name="offset">Byte of the file where it shows.</param>
    /// <param name="text">A sentence without the file, with what is done.</param>
    /// <exception cref="DiskException"><see cref="ErrorKind.CorruptImage"/>: there are more than single entries.</exception>
    public void Add(Severity severity, string code, long? offset, string text)
    {
        var count = _counts.GetValueOrDefault(code).Count + 1;
        if (count > MostChanges)
        {
            throw DiskErrors.Corrupt(file, $"more than {MostChanges} of its table entries are damaged; the table is lost, and nothing of it is repaired.");
        }

        _counts[code] = (severity, count);
        if (count <= MostListed)
        {
            _listed.Add(new ImageDiagnostic(severity, code, file, offset, $"{file}: {text}"));
        }
    }

    /// <summary>Refuses when more blocks share their places than single damaged entries can explain.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.CorruptImage"/>.</exception>
    public static void RequireFew(string file, int copies)
    {
        if (copies > MostCopies)
        {
            throw DiskErrors.Corrupt(file, $"more than {MostCopies} of its table entries share their places; the table is lost, and nothing of it is repaired.");
        }
    }
}
