use crate::support::TestApp;

#[tokio::test]
async fn a_tenant_registers_and_reads_its_own_members() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let member = staff.add_member("Grace", "+13125550101").await;
    let list = staff.get("/v1/members").await.expect(200);
    assert_eq!(list["data"], serde_json::json!([member]));
}
