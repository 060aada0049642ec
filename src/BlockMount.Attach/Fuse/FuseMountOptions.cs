using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace BlockMount.Attach.Fuse;

/// <summary>How files are mounted.</summary>
public sealed record FuseMountOptions
{
    /// <summary>Lets other users read too (files 0444 or 0644 instead of 0400 or 0600). Needs <c>user_allow_other</c> unless root.</summary>
    public bool AllowOther { get; init; }

    /// <summary>Receiving threads, 1 to 64; 0 chooses by the number of processors.</summary>
    public int Threads { get; init; }

    /// <summary>Gets unexpected failures, and the sentence behind each I/O error.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;
}
