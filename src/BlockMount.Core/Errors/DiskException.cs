namespace BlockMount.Core.Errors;

/// <summary>
/// The one exception of the libraries. Its message is one sentence that names the file, the field or offset, the value found
/// and what was allowed. Control characters, which only a name or a value in a file can have brought in, are shown as question marks.
/// </summary>
public sealed class DiskException : Exception
{
    public DiskException(ErrorKind kind, string message, Exception? innerException = null)
        : base(ShownText.Printable(message), innerException) => Kind = kind;

    /// <summary>What a caller can act on.</summary>
    public ErrorKind Kind { get; }

    /// <summary>The file or device concerned, when one is.</summary>
    public string? Path { get; init; }

    /// <summary>Byte offset concerned, within <see cref="Path"/> or the disk, when one is known.</summary>
    public long? Offset { get; init; }
}
