using System.Text.Json.Serialization;

namespace BlockMount.Attach.Leftovers;

/// <summary>One line of a mount's journal. The first one says whose it is; each of the others is about one step.</summary>
internal sealed record JournalLine
{
    public int? Pid { get; init; }

    public string? Image { get; init; }

    public string? Directory { get; init; }

    /// <summary>Number of the step, 0 for the first.</summary>
    public int? Step { get; init; }

    /// <summary>What will be done.</summary>
    public MountStep? Begin { get; init; }

    /// <summary>It is done, and this is the device it made.</summary>
    public string? Made { get; init; }

    /// <summary>It is undone, or was not done.</summary>
    public bool Undone { get; init; }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault, UseStringEnumConverter = true)]
[JsonSerializable(typeof(JournalLine))]
internal sealed partial class JournalJson : JsonSerializerContext;
