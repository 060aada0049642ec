namespace BlockMount.Host.Cli;

/// <summary>Why a host refused: one sentence, and the kind of error by which a command chooses its exit code.</summary>
internal sealed record ErrorDocument(string Error, string Kind);

internal sealed record DoneDocument(bool Ok);

/// <param name="Done">Bytes of the disk.</param>
/// <param name="Total">Bytes of the disk.</param>
internal sealed record ProgressDocument(long Done, long Total);

/// <param name="Export">The export that was named.</param>
/// <param name="Image">The new image: the one to open from now on.</param>
/// <param name="Parent">The image that is not written to any more.</param>
internal sealed record SnapshotDocument(string Export, string Image, string Parent);

/// <summary>Names of exports.</summary>
internal sealed record ReloadDocument(IReadOnlyList<string> Added, IReadOnlyList<string> Removed, IReadOnlyList<string> Changed, IReadOnlyList<string> Unchanged);

/// <param name="Drained">Whether the last client has left.</param>
/// <param name="Clients">Those that are still there.</param>
internal sealed record DrainDocument(bool Drained, int Clients);

internal sealed record HealthDocument(bool Ok, IReadOnlyList<string> Problems);

/// <summary>An image of a chain that is in use, base first.</summary>
internal sealed record LayerFacts(string Path, string Format, long Allocated, long FileSize);

/// <summary>Numbers of what was asked and how long it took, of an export or a client.</summary>
/// <param name="Operations">By kind: read, write, zero, trim, flush, cache, status.</param>
internal sealed record TrafficFacts(IReadOnlyDictionary<string, OperationFacts> Operations, int InFlight);

/// <param name="Count">Requests answered, with an error or not.</param>
/// <param name="Errors">Those answered with an error.</param>
/// <param name="Bytes">Of those that succeeded.</param>
/// <param name="P50Us">Half of them were answered within so many microseconds.</param>
/// <param name="P99Us">99 of 100 were.</param>
internal sealed record OperationFacts(long Count, long Errors, long Bytes, double P50Us, double P99Us);

internal sealed record SnapshotRequest(string? Path, string? Format);

/// <param name="From">Null, as <paramref name="To"/> then is, for the leaf into its parent.</param>
internal sealed record MergeRequest(int? From, int? To, bool IntoParent);

internal sealed record CompactRequest(int? Image);

internal sealed record SwitchRequest(bool On);

internal sealed record AttachExportRequest(int? Connections);

internal sealed record DrainRequest(int? Seconds, bool Off);
