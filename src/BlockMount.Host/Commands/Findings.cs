using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Partitions;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Commands;

/// <summary>What was noticed about images and tables, in the words that every command prints.</summary>
internal static class Findings
{
    public const string Error = "error";

    private const string Warning = "warning";

    /// <summary>All findings about one image.</summary>
    public static IEnumerable<DiagnosticFacts> Of(ImageLayer layer, ImageDescription description) =>
        layer.OpeningFindings.Concat(description.Diagnostics).Select(Of);

    /// <summary>One finding about an image.</summary>
    public static DiagnosticFacts Of(ImageDiagnostic d) => new(Word(d.Severity), d.Code, d.File, d.Offset, d.Message);

    /// <summary>Why a chain is not whole.</summary>
    public static DiagnosticFacts Of(DiskException broken) => new(Error, "broken_chain", broken.Path, null, broken.Message);

    /// <summary>A finding about a partition table; its offset counts on the disk, not in a file.</summary>
    public static DiagnosticFacts Of(PartitionDiagnostic d) => new(
        d.Severity switch { DiagnosticSeverity.Error => Error, DiagnosticSeverity.Warning => Warning, _ => "info" }, d.Code, null, d.Offset, d.Message);

    private static string Word(Severity severity) => severity switch { Severity.Error => Error, Severity.Warning => Warning, _ => "info" };
}
