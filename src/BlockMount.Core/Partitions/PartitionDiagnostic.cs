namespace BlockMount.Core.Partitions;

/// <summary>How much a finding matters.</summary>
public enum DiagnosticSeverity
{
    /// <summary>Worth knowing; nothing is wrong.</summary>
    Information,

    /// <summary>The table is unusual or was repaired while reading; what is listed is what the system would use.</summary>
    Warning,

    /// <summary>Part of the table cannot be used and is not listed.</summary>
    Error,
}

/// <summary>Something found while reading a partition table.</summary>
/// <param name="Severity">How much it matters.</param>
/// <param name="Code">Stable word for scripts, one of <see cref="PartitionDiagnosticCodes"/>.</param>
/// <param name="Message">One sentence for people.</param>
/// <param name="Offset">Byte of the disk concerned, when one is known.</param>
public readonly record struct PartitionDiagnostic(DiagnosticSeverity Severity, string Code, string Message, long? Offset = null);
