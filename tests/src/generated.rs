//! Components that no compiler of Rust would make: built instruction by instruction.

use wasm_encoder::{
    BlockType, CodeSection, Component, ConstExpr, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, HeapType, InstructionSink, MemorySection, MemoryType, Module, ModuleSection,
    RefType, TableSection, TableType, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding};

/// The contract.
const TYPES: &str = include_str!("../../wit/v1/types.wit");

/// Half a megabyte that takes a compiler half a minute: one function of tens of thousands of small loops over the same
/// variables.
pub fn slow_to_compile() -> Vec<u8> {
    const LOOPS: u32 = 40_000;
    const VARIABLES: u32 = 200;
    let mut function = Function::new([(VARIABLES, ValType::I32)]);
    let mut code = function.instructions();
    for n in 0..LOOPS {
        let (from, to) = (n * 7_919 % VARIABLES, n * 31 % VARIABLES);
        code.loop_(BlockType::Empty).local_get(from).local_get(to).i32_add().local_tee(to).br_if(0).end();
    }
    code.local_get(0).end();
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut bodies = CodeSection::new();
    bodies.function(&function);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&bodies);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component.finish()
}

/// A plugin that grows its table of functions by `step` until that is refused, and then traps.
pub fn grows_its_table(step: i32) -> Vec<u8> {
    plugin(|code| {
        code.loop_(BlockType::Empty)
            .ref_null(HeapType::FUNC)
            .i32_const(step)
            .table_grow(0)
            .i32_const(-1)
            .i32_ne()
            .br_if(0)
            .end()
            .unreachable();
    })
}

/// A plugin with this code in its `handle`, after which it must not go on. It has a memory, and a table of one
/// function that is null.
fn plugin(handle: impl FnOnce(&mut InstructionSink<'_>)) -> Vec<u8> {
    use ValType::{I32, I64};
    let mut types = TypeSection::new();
    // An event: two texts, a time, two lists; back comes where the answer lies.
    types.ty().function([I32, I32, I32, I32, I64, I32, I32, I32, I32], [I32]);
    types.ty().function([I32; 4], [I32]);
    let mut functions = FunctionSection::new();
    functions.function(0).function(1);
    let mut tables = TableSection::new();
    let element_type = RefType::FUNCREF;
    tables.table(TableType { element_type, table64: false, minimum: 1, maximum: None, shared: false });
    let mut memories = MemorySection::new();
    let memory =
        MemoryType { minimum: 2, maximum: None, memory64: false, shared: false, page_size_log2: None };
    memories.memory(memory);
    let mut globals = GlobalSection::new();
    let free = GlobalType { val_type: I32, mutable: true, shared: false };
    globals.global(free, &ConstExpr::i32_const(1_024));
    let mut exports = ExportSection::new();
    exports
        .export("hookyard:plugin/handler@1.0.0#handle", ExportKind::Func, 0)
        .export("cabi_realloc", ExportKind::Func, 1)
        .export("memory", ExportKind::Memory, 0);
    let mut body = Function::new([]);
    let mut code = body.instructions();
    handle(&mut code);
    code.end();
    // What is handed out is never taken back.
    let mut realloc = Function::new([]);
    realloc
        .instructions()
        .global_get(0)
        .global_get(0)
        .local_get(3)
        .i32_add()
        .i32_const(15)
        .i32_add()
        .i32_const(-16)
        .i32_and()
        .global_set(0)
        .end();
    let mut bodies = CodeSection::new();
    bodies.function(&body).function(&realloc);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&tables)
        .section(&memories)
        .section(&globals)
        .section(&exports)
        .section(&bodies);
    let mut module = module.finish();

    let mut resolve = wit_parser::Resolve::new();
    let package = resolve.push_source("types.wit", TYPES).expect("the contract is WIT");
    let world = resolve.select_world(&[package], Some("plugin")).expect("it has the world");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the world can be told");
    let encoder = ComponentEncoder::default().module(&module).expect("the module fits the world");
    encoder.validate(true).encode().expect("it is a component")
}
