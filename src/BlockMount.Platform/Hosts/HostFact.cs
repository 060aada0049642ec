namespace BlockMount.Platform.Hosts;

/// <summary>One thing this host has or lacks.</summary>
/// <param name="Name">Short name in snake case, the same in every version.</param>
/// <param name="IsPresent">Whether it is there and usable.</param>
/// <param name="Detail">What was found or what is missing.</param>
/// <param name="Purpose">What it is needed for.</param>
/// <param name="Remedy">The step or Debian package that gives it; null when it is present.</param>
public sealed record HostFact(string Name, bool IsPresent, string Detail, string Purpose, string? Remedy);
