namespace BlockMount.Nbd;

/// <summary>Metadata contexts a client selected. The context id on the wire is the value of the member.</summary>
[Flags]
public enum NbdMetaContexts
{
    None = 0,

    /// <summary><c>base:allocation</c>: holes and zeros.</summary>
    BaseAllocation = 1,

    /// <summary><c>qemu:allocation-depth</c>: 0 no layer decides the run, 1 the leaf, n the n-th layer.</summary>
    AllocationDepth = 2,
}
