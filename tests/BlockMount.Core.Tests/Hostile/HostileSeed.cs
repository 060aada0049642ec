namespace BlockMount.Core.Tests.Hostile;

/// <summary>A good image that mutants are made from.</summary>
/// <param name="Name">Names it in failures.</param>
/// <param name="Format">What it is opened as.</param>
/// <param name="Leaf">The file that is opened.</param>
/// <param name="Target">The file that is mutated: the leaf, its parent, or an extent.</param>
/// <param name="Files">All files of the chain by path.</param>
/// <param name="Hot">Ranges of the target that the program interprets; most mutations fall there.</param>
internal sealed record HostileSeed(
    string Name, string Format, string Leaf, string Target, IReadOnlyDictionary<string, byte[]> Files, params (int Offset, int Length)[] Hot)
{
    /// <summary>A range of the target that is text; mutated as lines too.</summary>
    public (int Offset, int Length)? Text { get; init; }

    /// <summary>Makes checksums and copies right again, so that a mutant reaches what they guard.</summary>
    public Action<HostileFile>? Seal { get; init; }

    public override string ToString() => Name;
}
